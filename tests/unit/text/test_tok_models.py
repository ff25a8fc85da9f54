"""tokenizer.json as published families configure it: normalizer, pre-tokenizer, model options, post-processor, decoder and the habits of
their added tokens, over small vocabularies trained here. Ids with and without special tokens, and decoded text, against PyPI `tokenizers`.
"""
import base64
import json
import pathlib
import re
import sys

import pytest

pytest.importorskip("tokenizers")
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from test_tok import ADD, CONTRACTION, GPT2, LLAMA3, PARSE, QWEN2, N, SPACES, cased, compare, decoded, folder, split, texts, to_bytes  # noqa: E402
from tokenizers import AddedToken, Regex, Tokenizer, decoders as D, models as M, normalizers as Z, pre_tokenizers as P, processors as X, trainers as T  # noqa: E402

META = "\u2581"
CLIP = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
O200K = cased(CONTRACTION + "?") + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + SPACES
TEKKEN = cased("") + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + SPACES
DEEPSEEK3 = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SQUEEZE = Z.Replace(Regex(" {2,}"), " ")
QUOTES = [Z.Replace("``", '"'), Z.Replace("''", '"')]


def charsmap(tmp):
    spm = pytest.importorskip("sentencepiece")
    spm.SentencePieceTrainer.train(sentence_iterator=iter(t.replace("\n", " ") for t in texts(500, 31)), model_prefix=str(tmp / "m"), vocab_size=8000, num_threads=1,
                                   character_coverage=0.98, hard_vocab_limit=False, model_type="char", normalization_rule_name="nmt_nfkc", minloglevel=2)
    data = (tmp / "m.model").read_bytes()

    def fields(b):
        i = 0
        while i < len(b):
            def varint():
                nonlocal i
                v = s = 0
                while True:
                    v, s, i = v | (b[i] & 127) << s, s + 7, i + 1
                    if b[i - 1] < 128:
                        return v
            tag = varint()
            if tag & 7 == 2:
                n = varint()
                yield tag >> 3, b[i:i + n]
                i += n
            elif tag & 7 == 0:
                yield tag >> 3, varint()
            else:
                i += 4 if tag & 7 == 5 else 8
    spec = next(v for k, v in fields(data) if k == 3)
    return base64.b64encode(next(v for k, v in fields(spec) if k == 2)).decode()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """kind -> JSON of a model."""
    corpus, special = [re.sub("<[^<>]*>", "", t) for t in texts(1500, 32)], ["<unk>"]  # nothing that spells a special token is learnt as text
    bytes_ = Tokenizer(M.BPE())
    bytes_.pre_tokenizer = P.Sequence([split(GPT2), to_bytes()])
    bytes_.train_from_iterator(corpus, T.BpeTrainer(vocab_size=3000, initial_alphabet=P.ByteLevel.alphabet(), show_progress=False))
    clip = Tokenizer(M.BPE(end_of_word_suffix="</w>"))
    clip.pre_tokenizer = P.Sequence([split(CLIP, "removed", True), to_bytes()])
    clip.train_from_iterator([c.lower() for c in corpus], T.BpeTrainer(vocab_size=2500, initial_alphabet=P.ByteLevel.alphabet(), end_of_word_suffix="</w>", show_progress=False))
    chars = Tokenizer(M.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    chars.pre_tokenizer = P.Metaspace()
    chars.train_from_iterator(corpus, T.BpeTrainer(vocab_size=3000, special_tokens=special + [f"<0x{b:02X}>" for b in range(256)], limit_alphabet=700, show_progress=False))
    uni = Tokenizer(M.Unigram())
    uni.pre_tokenizer = P.Metaspace()
    uni.train_from_iterator(corpus[:250], T.UnigramTrainer(vocab_size=4000, special_tokens=special, unk_token="<unk>", show_progress=False))
    word = Tokenizer(M.WordPiece(unk_token="<unk>"))
    word.normalizer, word.pre_tokenizer = Z.BertNormalizer(), P.BertPreTokenizer()
    word.train_from_iterator(corpus, T.WordPieceTrainer(vocab_size=3000, special_tokens=special, show_progress=False))
    kinds = {k: json.loads(t.to_str())["model"] for k, t in (("bytes", bytes_), ("clip", clip), ("chars", chars), ("unigram", uni), ("wordpiece", word))}
    return kinds, {"type": "Precompiled", "precompiled_charsmap": charsmap(tmp_path_factory.mktemp("map"))}


PRECOMPILED = "charsmap"
SPM_DECODER = D.Sequence([D.Replace(META, " "), D.ByteFallback(), D.Fuse()])
LLAMA2_DECODER = D.Sequence([D.Replace(META, " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)])
LLAMA2 = [Z.Prepend(META), Z.Replace(" ", META)]
SPLIT_META = P.Sequence([P.WhitespaceSplit(), P.Metaspace()])


def around(single):
    return lambda ids: X.TemplateProcessing(single=single, special_tokens=[(t, ids[t]) for t in ("<s>", "</s>") if t in single])


def roberta(trim=True, prefix=False):
    return lambda ids: X.RobertaProcessing(("</s>", ids["</s>"]), ("<s>", ids["<s>"]), trim, prefix)


def both(single):
    return lambda ids: X.Sequence([X.ByteLevel(trim_offsets=False), around(single)(ids)])


def cut(*patterns, digits=None):
    return P.Sequence([*(split(p) for p in patterns), *([P.Digits(digits)] if digits is not None else []), to_bytes()])


BYTES = D.ByteLevel()
# family -> model kind, model options, normalizers, pre-tokenizer, post-processor, decoder, flags of added tokens
FAMILIES = {
    "t5": ("unigram", {}, [PRECOMPILED], SPLIT_META, around("$A </s>"), D.Metaspace(), {}),
    "mt5, umt5": ("unigram", {}, [PRECOMPILED, SQUEEZE], P.Metaspace(), around("$A </s>"), D.Metaspace(), {}),
    "xlm-roberta, mbart, bge-m3": ("unigram", {}, [PRECOMPILED], SPLIT_META, around("<s> $A </s>"), D.Metaspace(), {"lstrip": True}),
    "nllb": ("chars", {"byte_fallback": False}, [PRECOMPILED], P.Metaspace(), around("<s> $A </s>"), D.Metaspace(), {}),
    "albert": ("unigram", {}, [*QUOTES, Z.NFKD(), Z.StripAccents(), Z.Lowercase(), PRECOMPILED], SPLIT_META, around("<s> $A </s>"), D.Metaspace(), {"lstrip": True}),
    "xlnet": ("unigram", {}, [*QUOTES, Z.NFKD(), Z.StripAccents(), SQUEEZE], SPLIT_META, around("$A </s> <s>"), D.Metaspace(), {}),
    "deberta-v3": ("unigram", {}, [Z.Strip(), Z.Replace(Regex(r"[\n\r\t]"), " "), Z.NFC(), SQUEEZE], P.Metaspace(), around("<s> $A </s>"), D.Metaspace(), {}),
    "pegasus": ("unigram", {}, [PRECOMPILED, SQUEEZE], SPLIT_META, around("$A </s>"), D.Metaspace(), {}),
    "bert uncased": ("wordpiece", {}, [Z.BertNormalizer()], P.BertPreTokenizer(), around("<s> $A </s>"), D.WordPiece(), {}),
    "bert cased, multilingual": ("wordpiece", {}, [Z.BertNormalizer(lowercase=False)], P.BertPreTokenizer(), around("<s> $A </s>"), D.WordPiece(), {}),
    "electra, short words": ("wordpiece", {"max_input_chars_per_word": 7}, [Z.BertNormalizer(True, True, True, True)], P.BertPreTokenizer(), around("<s> $A </s>"), D.WordPiece(cleanup=False), {}),
    "gpt2, jais": ("bytes", {}, [], to_bytes(True), lambda ids: X.ByteLevel(trim_offsets=False), BYTES, {}),
    "roberta, deberta": ("bytes", {}, [], to_bytes(True), roberta(), BYTES, {"lstrip": True}),
    "bart with a space": ("bytes", {}, [], P.ByteLevel(add_prefix_space=True), roberta(prefix=True), BYTES, {}),
    "gpt-neox, mpt, olmo": ("bytes", {}, [Z.NFC()], to_bytes(True), lambda ids: X.ByteLevel(), BYTES, {}),
    "modernbert": ("bytes", {}, [Z.NFC()], to_bytes(True), around("<s> $A </s>"), BYTES, {"lstrip": True}),
    "phi-2, codegen": ("bytes", {}, [], to_bytes(True), None, BYTES, {"normalized": True}),
    "starcoder, granite": ("bytes", {}, [], P.Sequence([P.Digits(True), to_bytes(True)]), None, BYTES, {}),
    "command-r, smollm": ("bytes", {}, [Z.NFC()], P.Sequence([P.Digits(True), to_bytes(True)]), around("<s> $A"), BYTES, {}),
    "falcon": ("bytes", {}, [], P.Sequence([P.Punctuation("contiguous"), to_bytes(True), P.Digits(False), split("[0-9][0-9][0-9]")]), None, BYTES, {}),
    "bloom": ("bytes", {}, [], cut(BLOOM), lambda ids: X.ByteLevel(trim_offsets=False), BYTES, {}),
    "viking, poro": ("bytes", {}, [], cut(BLOOM, r"\p{N}"), None, BYTES, {}),
    "llama-3": ("bytes", {"ignore_merges": True}, [], cut(LLAMA3), both("<s> $A"), BYTES, {}),
    "qwen2, qwen3, exaone-4": ("bytes", {}, [Z.NFC()], cut(QWEN2), lambda ids: X.ByteLevel(trim_offsets=False), BYTES, {}),
    "glm-4, phi-4, olmo-2, smollm3": ("bytes", {}, [], cut(LLAMA3), None, BYTES, {"rstrip": True}),
    "gpt-oss, llama-4, minimax": ("bytes", {}, [], cut(O200K), None, BYTES, {}),
    "mistral-nemo": ("bytes", {"ignore_merges": True}, [], cut(TEKKEN), around("<s> $A"), BYTES, {}),
    "deepseek-v3, r1": ("bytes", {}, [], cut(r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+", DEEPSEEK3), around("<s> $A"), BYTES, {}),
    "deepseek-llm": ("bytes", {}, [], cut(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥\u0800-一가-\ud7ff]+", digits=True), around("<s> $A"), BYTES, {}),
    "whisper": ("bytes", {}, [], to_bytes(True), around("<s> $A </s>"), BYTES, {}),
    "clip": ("clip", {}, [Z.NFC(), Z.Replace(Regex(r"\s+"), " "), Z.Lowercase()], P.Sequence([split(CLIP, "removed", True), to_bytes()]), roberta(False, False), None, {"normalized": True}),
    "llama-2, phi-3, yi, internlm2": ("chars", {}, LLAMA2, None, around("<s> $A"), LLAMA2_DECODER, {"rstrip": True}),
    "mistral v3, not legacy": ("chars", {}, [], P.Metaspace(META, "first", False), around("<s> $A"), LLAMA2_DECODER, {}),
    "gemma": ("chars", {}, [Z.Replace(" ", META)], P.Split(" ", "merged_with_previous"), around("<s> $A"), SPM_DECODER, {}),
    "gemma-3n, ernie-4.5": ("chars", {}, [Z.Replace(" ", META)], None, around("<s> $A"), SPM_DECODER, {"normalized": True}),
    "minicpm": ("chars", {"fuse_unk": False}, LLAMA2, None, around("<s> $A"), LLAMA2_DECODER, {"lstrip": True}),
    "characters without fallback": ("chars", {"byte_fallback": False, "fuse_unk": False}, LLAMA2, None, None, LLAMA2_DECODER, {}),
}


def make(trained, family):
    kind, options, norms, pre, post, decoder, flags = FAMILIES[family]
    models, precompiled = trained
    spec = json.loads(Tokenizer(M.BPE()).to_str())
    spec["model"] = {**models[kind], **options}
    steps = [precompiled if s is PRECOMPILED else json.loads(s.__getstate__()) for s in norms]
    spec["normalizer"] = None if not steps else steps[0] if len(steps) == 1 else {"type": "Sequence", "normalizers": steps}
    tk = Tokenizer.from_str(json.dumps(spec))
    if pre is not None:
        tk.pre_tokenizer = pre
    if decoder is not None:
        tk.decoder = decoder
    tk.add_special_tokens([AddedToken(t, normalized=False, **{k: v for k, v in flags.items() if k != "normalized"}) for t in ("<s>", "</s>", "<|im_start|>", "<|im_end|>")])
    tk.add_tokens([AddedToken(t, **{"normalized": False, **flags}) for t in ("<think>", "    ", "Hello")])
    if post is not None:
        tk.post_processor = post({t: tk.token_to_id(t) for t in ("<s>", "</s>")})
    return tk


@pytest.mark.parametrize("family", FAMILIES)
def test_family(build, tmp_path, trained, family):
    tk = make(trained, family)
    path = folder(tmp_path / "hf", tk)
    more = ["", " <|im_end|> ", "<|im_start|>", "\n<think> x", "    ", " Hello ", "</s>", "'' ``q``  don't  !"]
    strings = [s + t for s, t in zip(texts(N // 4, 33), more * N)] + ["", " ", "\n", *more]
    for flags in (PARSE | ADD, PARSE, 0):
        compare(build, path, tk, strings, flags)
    tk.encode_special_tokens = False
    renamed = {t["id"] for t in json.loads(tk.to_str())["added_tokens"] if tk.id_to_token(t["id"]) != t["content"]}
    ids = [e.ids for e in tk.encode_batch(strings, add_special_tokens=True) if not renamed & set(e.ids)]
    want = tk.decode_batch(ids, skip_special_tokens=True)
    bad = [(i, w, g) for i, w, g in zip(ids, want, decoded(build, path, ids), strict=True) if g != w and "\ufffd" not in g + w]
    assert not bad, f"{len(bad)} decode otherwise, first (ids, theirs, ours) {bad[0]!a}"
