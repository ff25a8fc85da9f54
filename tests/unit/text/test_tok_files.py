"""The other files in which folders keep a tokenizer: ranks (tiktoken), vocab.json with merges.txt, vocab.txt, added tokens beside them.

Folders hold tokenizer files alone. Oracles: PyPI tiktoken over ranks trained here, PyPI tokenizers built from the same pieces; and,
where PyPI mistral-common is installed, its own data files against sentencepiece and tiktoken.
"""
import base64
import importlib.util
import json
import os
import pathlib
import random
import struct
import sys
import unicodedata

import pytest

pytest.importorskip("tokenizers")
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from test_tok import ADD, GPT2, LLAMA3, PARSE, QWEN2, SEED, N, compare, decoded, ours, split, texts, to_bytes  # noqa: E402
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402

P = pre_tokenizers
PRINTABLE = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
BYTE_OF = {chr(b): b for b in PRINTABLE} | {chr(0x100 + i): b for i, b in enumerate(b for b in range(256) if b not in PRINTABLE)}


@pytest.fixture(scope="module")
def trained():
    tk = Tokenizer(models.BPE())
    tk.pre_tokenizer = to_bytes()
    tk.train_from_iterator(texts(2000, 21), trainers.BpeTrainer(vocab_size=4000, initial_alphabet=P.ByteLevel.alphabet(), show_progress=False))
    return tk


@pytest.fixture(scope="module")
def ranks(trained):
    vocab = trained.get_vocab()
    learnt = [bytes(BYTE_OF[c] for c in t) for t in sorted(vocab, key=vocab.get)]
    return {t: i for i, t in enumerate([bytes([b]) for b in range(256)] + [t for t in learnt if len(t) > 1])}


def put(path, **files):
    path.mkdir(exist_ok=True)
    for name, data in files.items():
        name = name.replace("__", ".")
        (path / name).write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def lines(ranks):
    return "".join(f"{base64.b64encode(t).decode()} {i}\n" for t, i in ranks.items())


def check(build, path, strings, want, flags):
    bad = [(s, w, g) for s, w, g in zip(strings, want, ours(build, path, flags, strings), strict=True) if w != g]
    assert not bad, f"seed {SEED}: {len(bad)} of {len(strings)} differ, first {bad[0]!a}"


FAMILIES = {"QWenTokenizer": (QWEN2, True), "ChatGLM4Tokenizer": (LLAMA3, False), "GPT2Tokenizer": (GPT2, False)}


@pytest.mark.parametrize("cls", FAMILIES)
@pytest.mark.parametrize("name", ["own.tiktoken", "tokenizer.model", "tiktoken.model"])
def test_ranks(build, tmp_path, ranks, cls, name):
    tiktoken = pytest.importorskip("tiktoken")
    pattern, nfc = FAMILIES[cls]
    added = {"<|hello|>": len(ranks), "[gMASK]": len(ranks) + 1, "<sop>": len(ranks) + 2}
    config = {"tokenizer_class": cls, "added_tokens_decoder": {str(i): {"content": t, "special": True} for t, i in added.items()}}
    path = put(tmp_path / "hf", **{name: lines(ranks), "tokenizer_config.json": config})
    enc = tiktoken.Encoding(cls, pat_str=pattern, mergeable_ranks=ranks, special_tokens=added)
    strings = [s + t for s, t in zip(texts(N // 4, 22), ["", "<|hello|>", " <sop>x"] * N)]
    plain = [unicodedata.normalize("NFC", s) for s in strings] if nfc else strings
    strings = plain if nfc else strings  # Python's tables of normal forms are newer than those of PyPI tokenizers
    check(build, path, strings, enc.encode_ordinary_batch(plain), 0)
    special = [enc.encode(s, allowed_special="all") for s in plain]
    check(build, path, strings, special, PARSE)
    first = [added["[gMASK]"], added["<sop>"]] if cls == "ChatGLM4Tokenizer" else []
    check(build, path, strings, [first + e for e in special], PARSE | ADD)
    assert decoded(build, path, enc.encode_ordinary_batch(plain)) == plain


def test_ranks_without_a_known_family_are_refused(build, tmp_path, ranks):
    path = put(tmp_path / "hf", **{"own.tiktoken": lines(ranks)})
    with pytest.raises(AssertionError, match="ranks and no known tokenizer_class"):
        ours(build, path, 0, ["x"])


def pair_of(ranks, token):
    """The two pieces that a converter writes as the token's merge: what merging its bytes below its rank ends in."""
    parts = [bytes([b]) for b in token]
    while len(parts) > 2:
        rank, at = min((ranks.get(a + b, 1 << 30), i) for i, (a, b) in enumerate(zip(parts, parts[1:])))
        assert rank < ranks[token]
        parts[at:at + 2] = [parts[at] + parts[at + 1]]
    return parts


def test_gguf_of_ranks(build, tmp_path, ranks):
    """Qwen (the first): the converter's merges are fewer than what its own tokenizer merges."""
    gguf, tiktoken = pytest.importorskip("gguf"), pytest.importorskip("tiktoken")
    char = {b: c for c, b in BYTE_OF.items()}
    spelled = {t: "".join(char[b] for b in t) for t in ranks}
    path = tmp_path / "q.gguf"
    out = gguf.GGUFWriter(path, "qwen")
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("qwen2")
    out.add_token_list([spelled[t] for t in ranks] + ["<|im_start|>"])
    out.add_token_types([1] * len(ranks) + [3])
    out.add_token_merges([" ".join(spelled[p] for p in pair_of(ranks, t)) for t in ranks if len(t) > 1])
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.close()
    enc = tiktoken.Encoding("qwen", pat_str=QWEN2, mergeable_ranks=ranks, special_tokens={"<|im_start|>": len(ranks)})
    strings = [unicodedata.normalize("NFC", s) for s in texts(N, 28)]
    check(build, path, strings, enc.encode_ordinary_batch(strings), 0)
    check(build, path, strings, [enc.encode(s, allowed_special="all") for s in strings], PARSE)
    ids = enc.encode_ordinary_batch(strings)
    assert decoded(build, path, ids) == strings


PAIRS = {"GPT2Tokenizer": (GPT2, False), "Qwen2Tokenizer": (QWEN2, True), "RobertaTokenizer": (GPT2, False)}


@pytest.mark.parametrize("cls", PAIRS)
@pytest.mark.parametrize("old", [True, False], ids=["added_tokens.json", "added_tokens_decoder"])
def test_vocab_and_merges(build, tmp_path, trained, cls, old):
    spec = json.loads(trained.to_str())["model"]
    pattern, nfc = PAIRS[cls]
    tk = Tokenizer.from_str(trained.to_str())
    tk.pre_tokenizer = P.Sequence([split(pattern), to_bytes()])
    tk.decoder = decoders.ByteLevel()
    if nfc:
        tk.normalizer = normalizers.NFC()
    tokens = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    tk.add_special_tokens([AddedToken(t, normalized=False, lstrip=not old and t == "<|im_end|>") for t in tokens])
    ids = {t: tk.token_to_id(t) for t in tokens}
    if cls == "RobertaTokenizer":
        tk.post_processor = processors.RobertaProcessing(("</s>", ids["</s>"]), ("<s>", ids["<s>"]))
    config = {"tokenizer_class": cls, "bos_token": "<s>", "eos_token": "</s>"}
    files = {"vocab.json": spec["vocab"], "merges.txt": "#version: 0.2\n" + "".join(" ".join(m) + "\n" for m in spec["merges"]), "tokenizer_config.json": config}
    if old:  # that file does not say what is special; markers and configured ends are
        files["added_tokens.json"] = {t: i for t, i in ids.items() if t.startswith("<|")}
        tk = Tokenizer.from_str(json.dumps({**json.loads(tk.to_str()), "added_tokens": [
            t for t in json.loads(tk.to_str())["added_tokens"] if t["content"].startswith("<|")], "post_processor": None}))
    else:
        config["added_tokens_decoder"] = {str(i): {"content": t, "special": True, "lstrip": t == "<|im_end|>", "normalized": False} for t, i in ids.items()}
    path = put(tmp_path / "hf", **files)
    strings = [s + t for s, t in zip(texts(N // 4, 23), ["", "<|im_start|>x", " <|im_end|>"] * N)]
    for flags in (PARSE, 0) if old else (PARSE | ADD, PARSE, 0):
        compare(build, path, tk, strings, flags)


@pytest.mark.parametrize("lower", [True, False])
def test_vocab_txt(build, tmp_path, lower):
    tk = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tk.normalizer = normalizers.BertNormalizer(lowercase=lower)
    tk.pre_tokenizer = P.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tk.train_from_iterator(texts(2000, 24), trainers.WordPieceTrainer(vocab_size=4000, special_tokens=special, show_progress=False))
    tk.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tk.decoder = decoders.WordPiece()
    vocab = tk.get_vocab()
    files = {"vocab.txt": "".join(t + "\n" for t in sorted(vocab, key=vocab.get))}
    if not lower:
        files["tokenizer_config.json"] = {"tokenizer_class": "BertTokenizer", "do_lower_case": False}
    path = put(tmp_path / "hf", **files)
    strings = texts(N // 2, 25) + ["[CLS] a [MASK] b [SEP]", "don't do not , stop ."]
    for flags in (PARSE | ADD, PARSE, 0):
        compare(build, path, tk, strings, flags)
    ids = [e.ids for e in tk.encode_batch(strings)]
    want = tk.decode_batch(ids, skip_special_tokens=True)
    assert [(w, g) for w, g in zip(want, decoded(build, path, ids), strict=True) if w != g] == []


def test_added_tokens_beside_sentencepiece(build, tmp_path):
    """Tokens beyond tokenizer.model's pieces: the text between them is SentencePiece's, and user text never reaches special ones."""
    spm = pytest.importorskip("sentencepiece")
    spm.SentencePieceTrainer.train(sentence_iterator=iter(t.replace("\n", " ") for t in texts(2000, 26)), model_prefix=str(tmp_path / "m"), vocab_size=8000, character_coverage=0.98,
                                   hard_vocab_limit=False, model_type="bpe", byte_fallback=True, normalization_rule_name="identity", num_threads=1,
                                   remove_extra_whitespaces=False, add_dummy_prefix=False, minloglevel=2)
    sp = spm.SentencePieceProcessor(model_file=str(tmp_path / "m.model"))
    n = sp.get_piece_size()
    path = put(tmp_path / "hf", **{"tokenizer_config.json": {"added_tokens_decoder": {
        str(n): {"content": "<|end|>", "special": True}, str(n + 1): {"content": "<tool>", "special": False, "rstrip": True}}}})
    (path / "tokenizer.model").write_bytes((tmp_path / "m.model").read_bytes())
    a, b = sp.encode("one"), sp.encode("two  ")
    assert ours(build, path, PARSE, ["one<|end|>two  ", "one<tool>  two  "]) == [a + [n] + b, a + [n + 1] + b]
    assert ours(build, path, 0, ["one<|end|>", "one<tool>"]) == [sp.encode("one<|end|>"), a + [n + 1]]


@pytest.mark.parametrize("options,why", [({}, None), ({"treat_whitespace_as_suffix": True}, "treat_whitespace_as_suffix")], ids=["plain", "suffix"])
def test_sentencepiece_options(build, tmp_path, options, why):
    """White space at the end goes, also the text's own U+2581; what is laid out otherwise is refused by name."""
    spm = pytest.importorskip("sentencepiece")
    spm.SentencePieceTrainer.train(sentence_iterator=iter(t.replace("\n", " ") for t in texts(600, 33)), model_prefix=str(tmp_path / "m"), vocab_size=6000, character_coverage=0.98,
                                   hard_vocab_limit=False, model_type="bpe", num_threads=1, minloglevel=2, **options)
    path = put(tmp_path / "hf")
    (path / "tokenizer.model").write_bytes((tmp_path / "m.model").read_bytes())
    strings = ["a ▁ ", "a▁▁", "▁ ", "▁▁ a", " ", "a ▁ b ▁", *texts(100, 34)]
    if why:
        with pytest.raises(AssertionError, match=why):
            ours(build, path, 0, strings)
        return
    want = spm.SentencePieceProcessor(model_file=str(tmp_path / "m.model")).encode(strings)
    assert [(s, w, g) for s, w, g in zip(strings, want, ours(build, path, 0, strings), strict=True) if w != g] == []


USER = ["<usr>", "<usr", "ab", "▁foo", "  ", "é", "Ab", "x y", "ﬁ", "a▁b"]
SP_MODELS = [  # model type, dummy prefix, remove_extra_whitespaces, byte_fallback, split_digits, escape_whitespaces, rule
    ("unigram", True, True, False, True, True, "nmt_nfkc"), ("unigram", False, True, True, False, True, "identity"), ("unigram", True, False, True, True, False, "nmt_nfkc_cf"),
    ("unigram", False, False, False, False, True, "nmt_nfkc"), ("bpe", True, True, True, True, True, "identity"), ("bpe", False, True, False, True, True, "nmt_nfkc_cf"),
    ("bpe", True, False, False, False, True, "nmt_nfkc"), ("bpe", False, False, True, False, False, "identity"), ("bpe", True, True, False, False, False, "nmt_nfkc"),
]


@pytest.mark.parametrize("kind,dummy,squeeze,fallback,digits,escape,rule", SP_MODELS)
def test_sentencepiece_user_pieces(build, tmp_path, kind, dummy, squeeze, fallback, digits, escape, rule):
    """User-defined pieces stay whole while all the text, with them, is normalized; ids and decoded text as SentencePiece has them."""
    spm = pytest.importorskip("sentencepiece")
    rng = random.Random(SEED + 35)
    words = [*USER, " ", "  ", "a", "b", " foo", "the", "▁", "\u3000", "É", "１2", "<", "ﬁn", "\u200b", "\x01", "\t", "猫", "s>", "😀"]
    strings = ["<usr><usr>", "<usr> a", " <usr> ", "<usr>  a", "a <usr>", "é <usr", "", " ", "\x01", *(s.replace("\0", "") for s in texts(N // 6, 36)),
               *("".join(rng.choice(words) for _ in range(rng.randrange(1, 12))) for _ in range(N))]
    spm.SentencePieceTrainer.train(sentence_iterator=iter(t.replace("\n", " ") for t in texts(500, 33) + strings), model_prefix=str(tmp_path / "m"), vocab_size=4000,
                                   character_coverage=0.98, hard_vocab_limit=False, num_threads=1, minloglevel=2, model_type=kind, add_dummy_prefix=dummy, split_digits=digits,
                                   remove_extra_whitespaces=squeeze, byte_fallback=fallback, normalization_rule_name=rule, user_defined_symbols=USER)
    model = (tmp_path / "m.model").read_bytes() + (b"" if escape else b"\x1a\x02\x28\x00")  # messages behind each other merge: normalizer_spec.escape_whitespaces = 0
    path = put(tmp_path / "hf")
    (path / "tokenizer.model").write_bytes(model)
    sp = spm.SentencePieceProcessor(model_proto=model)
    ids = sp.encode(strings)
    assert any(sp.piece_to_id("<usr>") in i for i in ids)
    check(build, path, strings, ids, 0)
    ids += [[i for i in rng.choices(range(3, sp.get_piece_size()), k=4) if not sp.is_byte(i)] for _ in range(N)]
    ids += [[sp.piece_to_id("▁")] * k + [sp.piece_to_id("the")] for k in range(4)] + [[0, 5], [5, 0]]
    assert [(i, w, g) for i, w, g in zip(ids, map(sp.decode, ids), decoded(build, path, ids), strict=True) if w != g] == []


def field(number, wire, data):
    def varint(x):
        return bytes([x]) if x < 128 else bytes([x & 127 | 128]) + varint(x >> 7)
    return varint(number << 3 | wire) + (varint(data) if wire == 0 else struct.pack("<f", data) if wire == 5 else varint(len(data)) + data)


def model_proto(pieces, model_type, fallback, prefix):
    """SentencePiece's ModelProto of (piece, score, type)."""
    out = b"".join(field(1, 2, field(1, 2, p.encode()) + field(2, 5, score) + field(3, 0, kind)) for p, score, kind in pieces)
    return out + field(2, 2, field(3, 0, model_type) + field(35, 0, fallback)) + field(3, 2, field(1, 2, b"identity") + field(3, 0, prefix) + field(4, 0, 0))


NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


@pytest.mark.parametrize("k", range(int(os.environ.get("RF_TOK_CONFIGS", "40"))))
def test_sentencepiece_types_of_pieces(build, tmp_path, k):
    """Random pieces of random scores and types. What merges make of unused pieces comes apart again, into the parts met last in the text."""
    spm = pytest.importorskip("sentencepiece")
    rng = random.Random(SEED * 104729 + k)
    letters = rng.choice(["ab", "abc", "abcé中", "▁ab"])
    known = {"".join(rng.choices(letters, k=rng.choice([1, 2, 2, 3, 3, 4, 5]))) for _ in range(rng.choice([6, 15, 40, 120]))} | {"▁"}
    for p in list(known):  # whole ladders, so that merges get there
        known |= {p[:i] for i in range(1, len(p))} if rng.random() < 0.6 else set()
    fallback = rng.random() < 0.5
    kinds = rng.choice([[NORMAL, UNUSED], [NORMAL, NORMAL, UNUSED], [NORMAL, NORMAL, UNUSED, UNUSED, USER_DEFINED], [UNUSED], [NORMAL, UNUSED, CONTROL]])
    scores = rng.choice([lambda: -float(rng.randrange(1, 4)), lambda: -rng.random() * 10])
    pieces = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)] + [(f"<0x{b:02X}>", 0.0, BYTE) for b in range(256) if fallback]
    for p in sorted(known):
        kind = rng.choice(kinds)  # one letter that is a control piece would come out of text there, never here
        pieces.append((p, scores(), NORMAL if kind == CONTROL and len(p) == 1 else kind))
    model = model_proto(pieces, rng.choice([1, 2, 2, 2]), fallback, rng.random() < 0.5)
    path = put(tmp_path / "hf")
    (path / "tokenizer.model").write_bytes(model)
    strings = ["".join(rng.choices(letters.replace("▁", " ") + " " + rng.choice(["", "x☃"]), k=rng.choice([3, 10, 30, 100, 400]))) for _ in range(60)]
    check(build, path, strings, spm.SentencePieceProcessor(model_proto=model).encode(strings), 0)


@pytest.mark.parametrize("dropout,fine", [(None, True), (0.0, True), (0.1, False), (1.0, False)])
def test_dropout(build, tmp_path, trained, dropout, fine):
    """With dropout, PyPI tokenizers merges at random when it encodes: refused. None at all is what 0 says."""
    spec = json.loads(trained.to_str())
    spec["model"]["dropout"] = dropout
    tk = Tokenizer.from_str(json.dumps(spec))
    path = put(tmp_path / "hf", tokenizer__json=spec)
    if fine:
        compare(build, path, tk, texts(50, 29), PARSE)
        return
    if dropout == 1:  # what is between 0 and 1 is random there
        assert len(tk.encode("of the people in the house").ids) > len(trained.encode("of the people in the house").ids)
    with pytest.raises(AssertionError, match="found dropout .*, expected null"):
        ours(build, path, 0, ["x"])


def mistral_data():
    found = importlib.util.find_spec("mistral_common")
    return sorted((pathlib.Path(found.origin).parent / "data").glob("*")) if found else []


@pytest.mark.parametrize("file", [f for f in mistral_data() if ".model.v" in f.name or f.suffix == ".json"], ids=lambda f: f.name)
def test_mistral_files(build, tmp_path, file):
    path = tmp_path / "hf"
    path.mkdir()
    strings = [s.replace("\0", "") for s in texts(N, 27)]
    if file.suffix == ".json":
        tiktoken = pytest.importorskip("tiktoken")
        spec = json.loads(file.read_text())
        special, config = spec["config"]["default_num_special_tokens"], spec["config"]
        table = {base64.b64decode(v["token_bytes"]): v["rank"] for v in spec["vocab"][:config["default_vocab_size"] - special]}
        enc = tiktoken.Encoding("tekken", pat_str=config["pattern"], mergeable_ranks=table, special_tokens={})
        (path / "tekken.json").write_bytes(file.read_bytes())
        check(build, path, strings, [[i + special for i in e] for e in enc.encode_ordinary_batch(strings)], 0)
    else:
        spm = pytest.importorskip("sentencepiece")
        (path / "tokenizer.model").write_bytes(file.read_bytes())
        check(build, path, strings, spm.SentencePieceProcessor(model_file=str(file)).encode(strings), 0)
