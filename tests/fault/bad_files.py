"""Model files as an attacker writes them: every bad file of public advisories against GGUF and safetensors readers, made out
of one good tiny model. Each is a name, a path and words that its refusal must hold ("" if any line will do).

    python tests/fault/bad_files.py OUTDIR     writes all of them
"""
import json
import os
import pathlib
import shutil
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "golden"))
import fixtures as F

U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64, I64, F64 = range(13)
CODES = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<B", U64: "<Q", I64: "<q", F64: "<d"}
MAX64, BIG = 2**64 - 1, 2**63 - 1


def string(b):
    return struct.pack("<Q", len(b)) + b


class Raw(bytes):
    """Bytes of a value that no honest writer would make."""


class Gguf:
    """A GGUF file as lists that can be bent: kv {key: (type, value)}, tensors [[name, dims, type, offset]], data."""

    def __init__(self, path):
        b, self.at = pathlib.Path(path).read_bytes(), 24
        self.b, (n_tensor, n_kv) = b, struct.unpack_from("<QQ", b, 8)
        self.kv, self.tensors, self.align = {}, [], 32
        for _ in range(n_kv):
            key = self.read_str().decode()
            self.kv[key] = self.read_value(self.read("<I"))
        for _ in range(n_tensor):
            name, n = self.read_str(), self.read("<I")
            self.tensors.append([name, [self.read("<Q") for _ in range(n)], self.read("<I"), self.read("<Q")])
        self.data = b[-(-self.at // self.align) * self.align:]
        self.n_kv = self.n_tensor = None

    def read(self, code):
        v = struct.unpack_from(code, self.b, self.at)[0]
        self.at += struct.calcsize(code)
        return v

    def read_str(self):
        n = self.read("<Q")
        self.at += n
        return self.b[self.at - n:self.at]

    def read_value(self, t):
        if t == STR:
            return t, self.read_str()
        if t != ARR:
            return t, self.read(CODES[t])
        item, n = self.read("<I"), self.read("<Q")
        return t, (item, [self.read_str() if item == STR else self.read(CODES[item]) for _ in range(n)])

    @staticmethod
    def pack(t, v):
        if isinstance(v, Raw):
            return v
        if t == STR:
            return string(v)
        if t != ARR:
            return struct.pack(CODES[t], v)
        item, values = v
        return struct.pack("<IQ", item, len(values)) + b"".join(Gguf.pack(item, x) for x in values)

    def bytes(self):
        n_tensor = len(self.tensors) if self.n_tensor is None else self.n_tensor
        out = bytearray(b"GGUF" + struct.pack("<IQQ", 3, n_tensor, len(self.kv) if self.n_kv is None else self.n_kv))
        for key, (t, v) in self.kv.items():
            out += string(key.encode()) + struct.pack("<I", t) + self.pack(t, v)
        for name, dims, t, offset in self.tensors:
            out += string(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims) + struct.pack("<IQ", t, offset)
        return bytes(out + b"\0" * (-len(out) % self.align) + self.data)


class Maker:
    def __init__(self, root):
        self.root, self.files = pathlib.Path(root), []
        self.root.mkdir(parents=True, exist_ok=True)
        self.variant = F.VARIANTS[0]
        self.good = self.root / "good.gguf"
        F.write_gguf(self.variant, str(self.good), "F32")
        self.folder = self.root / "good-folder"
        F.write_folder(self.variant, str(self.folder), "F32", "new")

    def put(self, name, content, says=""):
        path = self.root / (name.replace(" ", "-").replace("/", "_").replace("^", "") + ".gguf")
        path.write_bytes(content)
        self.files.append((name, path, says))

    def gguf(self, name, says, bend):
        g = Gguf(self.good)
        bend(g)
        self.put(name, g.bytes(), says)

    def key(self, key, t, v, says=""):
        """One key with another value. v may be Raw."""
        shown = "raw" if isinstance(v, Raw) else "array" if isinstance(v, tuple) else repr(v)[:24]
        self.gguf(f"{key} type {t} {shown}", says, lambda g: g.kv.__setitem__(key, (t, v)))


# ---- GGUF ----------------------------------------------------------------------------------------------------------

def headers(m):
    good = m.good.read_bytes()
    m.put("empty", b"", "GGUF")
    m.put("four bytes", b"GGUF")
    m.put("gzip", b"\x1f\x8b\x08\0" + b"\0" * 100)
    m.put("zip, as torch saves", b"PK\x03\x04" + b"\0" * 100)
    m.put("html", b"<!DOCTYPE html><html>404</html>")
    for version in (0, 1, 4, 2**32 - 1, 0x03000000):
        m.put(f"version {version}", good[:4] + struct.pack("<I", version) + good[8:])
    for field in ("n_tensor", "n_kv"):
        for n in (2**31, 2**60, BIG, 2**63, MAX64):
            m.gguf(f"{field} {n}", "", lambda g: setattr(g, field, n))
    for n in (BIG, 2**63, MAX64, MAX64 - 7, 2**32, len(good)):
        m.put(f"key length {n}", good[:24] + struct.pack("<Q", n) + good[32:])
        m.key("general.name", STR, Raw(struct.pack("<Q", n)))
        m.key("tokenizer.ggml.tokens", ARR, Raw(struct.pack("<IQ", STR, n)))
        m.key("tokenizer.ggml.tokens", ARR, Raw(struct.pack("<IQQ", STR, 1, n)))
        m.key("tokenizer.ggml.token_type", ARR, Raw(struct.pack("<IQ", U64, n)))
    for align in (0, 1, 3, 24, 2**31, 2**32 - 1):
        m.key("general.alignment", U32, align, "alignment")
    m.key("general.alignment", I32, -32, "alignment")
    m.key("general.alignment", U64, 2**40, "alignment")
    deep = struct.pack("<IQ", ARR, 1) * 100_000
    m.key("deep", ARR, Raw(deep))
    m.put("appended twice", good[:24] + good[24:100] + good[24:])
    for n in range(4096, len(good), 4096 * max(1, len(good) // 4096 // 12)):
        m.put(f"cut at {n}", good[:n])
    m.put("cut by one byte", good[:-1])


def shapes(m):
    def tensor(label, says="", **kw):
        def bend(g):
            t = g.tensors[1]
            for k, v in kw.items():
                t[{"dims": 1, "type": 2, "offset": 3, "name": 0}[k]] = v
        m.gguf(f"tensor {label}", says, bend)

    tensor("zero dim", dims=[0, 256])
    tensor("dim 0 of 1", dims=[0])
    tensor("no dims", dims=[])
    tensor("2^63-1 by 2", dims=[BIG, 2])
    tensor("product wraps", dims=[2**32, 2**32])
    tensor("bytes wrap", dims=[2**62, 1])
    tensor("2^42+1", dims=[2**42 + 1, 64])
    tensor("negative", dims=[MAX64, 1])
    tensor("five dims", dims=[1, 1, 1, 1, 64])
    tensor("2^32-1 dims", dims=[1] * 3000)
    tensor("more than 2^31 elements", dims=[2**31, 2])
    tensor("unknown type", type=99)
    tensor("type 2^31", type=2**31)
    tensor("type 60", "has type ?, which this build cannot compute", type=60)  # F8_E4M3 inside the engine, nothing in a file
    tensor("type 65549", "has type ?, which this build cannot compute", type=(1 << 16) + 13)  # that of safetensors inside the engine
    tensor("type 65551", "has type ?, which this build cannot compute", type=(1 << 16) + 15)
    tensor("offset 1", offset=1)
    tensor("offset near 2^64", offset=MAX64 - 31)
    tensor("offset behind the file", offset=2**40)
    tensor("empty name", name=b"")
    tensor("name of a neighbour", name=Gguf(m.good).tensors[0][0])
    tensor("name with escapes", name=b"\x1b[2J\n\xff" * 10)
    tensor("name of 70000 bytes", name=b"a" * 70_000)
    tensor("other shape", dims=[32, 128])

    def many(g):
        g.tensors += [[b"x%d" % i, [2**60], 0, (i << 62) % 2**64] for i in range(64)]
    m.gguf("sizes add up past 2^64", "", many)

    def last(g):
        g.tensors[-1][1] = [2**61 - 8]
    m.gguf("padded sum wraps on the last", "", last)
    m.gguf("no tensors", "", lambda g: g.tensors.clear())
    for i in range(len(Gguf(m.good).tensors)):
        m.gguf(f"without tensor {i}", "", lambda g: g.tensors.pop(i))
    m.gguf("one tensor more", "", lambda g: g.tensors.append([b"blk.0.mystery.weight", [8], 0, 0]))


def keys(m):
    g = Gguf(m.good)
    arch = g.kv["general.architecture"][1].decode()
    for key, (t, v) in g.kv.items():
        others = [(U8, 0), (STR, b""), (STR, b"\xff\0\n" * 20), (ARR, (U8, [])), (F32, float("nan"))]
        if t == ARR:
            item, values = v
            others += [(ARR, (item, values[:len(values) // 2])), (ARR, (STR if item != STR else I32, [b"" if item != STR else -1] * len(values)))]
        elif t != STR:
            others += [(I32, -1), (I32, -2**31), (U32, 2**31), (U32, 2**32 - 1), (U64, BIG), (F64, 1e308), (F64, 0.5)]
        for other, value in others:
            m.key(key, other, value)
        m.gguf(f"without {key}", "", lambda g: g.kv.pop(key))
    for n in (0, -1, 2**31 - 1, 2**40):
        m.key(f"{arch}.block_count", I64, n)
    n_vocab = len(g.kv["tokenizer.ggml.tokens"][1][1])
    m.key("tokenizer.ggml.scores", ARR, (U8, [0] * n_vocab))
    for name, piece in (("NUL", b"a\0b"), ("empty", b""), ("1 MB", b"a" * (1 << 20)), ("broken", b"\xff\xfe"), ("64 KB of NUL", b"\0" * 65536)):
        tokens = list(g.kv["tokenizer.ggml.tokens"][1][1])
        tokens[20] = piece
        m.gguf(f"token {name}", "", lambda g: g.kv.__setitem__("tokenizer.ggml.tokens", (ARR, (STR, tokens))))
    for key in ("tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.padding_token_id"):
        for v in (n_vocab, 2**31, 2**32 - 1):
            m.key(key, U32, v)
    m.key("general.architecture", STR, b"../../etc")
    m.key("tokenizer.ggml.model", STR, b"none such")
    m.key("tokenizer.ggml.pre", STR, b"none such")
    m.key("tokenizer.ggml.merges", ARR, (STR, [b"no-space-here"] * 100))
    m.key("tokenizer.ggml.merges", ARR, (STR, [b"a " + b"b" * 100_000]))


# ---- folders -------------------------------------------------------------------------------------------------------

def folders(m):
    def folder(name, says="", **files):
        path = m.root / ("folder-" + name.replace(" ", "-").replace("/", "_"))
        path.mkdir(exist_ok=True)
        for part in m.folder.iterdir():
            if part.name not in files:
                (path / part.name).write_bytes(part.read_bytes())
        for part, content in files.items():
            if content is not None:
                (path / part).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        m.files.append((f"folder {name}", path, says))

    def header(text, data=b"\0" * 8, length=None):
        text = text if isinstance(text, bytes) else json.dumps(text).encode()
        return struct.pack("<Q", len(text) if length is None else length) + text + data

    def one(dtype="F32", shape=(2,), offsets=(0, 8)):
        return {"t": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}

    good = (m.folder / "model.safetensors").read_bytes()
    bad = {"length 2^63": header(one(), length=2**63), "length 100 MB": header(one(), length=100_000_001), "not an object": header(b"[]"),
           "duplicate": header(b'{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
           "unknown dtype": header(one("F31")), "product wraps": header(one(shape=(2**32, 2**32), offsets=(0, 0))),
           "end before begin": header(one(offsets=(8, 0))), "hole": header(one(offsets=(8, 16)), b"\0" * 16),
           "behind the end": header(one(offsets=(0, 2**62))), "polyglot tail": good + b"PK\x05\x06" + b"\0" * 18,
           "negative": header(one(shape=(-2,))), "broken UTF-8": header(b'{"\xff":1}'), "deep": header(b'{"t":' + b"[" * 1_000_000),
           "cut in the header": good[:4096], "cut by a byte": good[:-1], "nothing": b"", "seven bytes": b"1234567",
           "all of it names": header(b'{"' + b"a" * 5_000_000 + b'":1}')}
    for name, content in bad.items():
        folder(name, **{"model.safetensors": content})
    for n in range(4096, len(good), 4096 * max(1, len(good) // 4096 // 8)):
        folder(f"cut at {n}", **{"model.safetensors": good[:n]})
    for shard in ("../good-folder/model.safetensors", "/etc/passwd", "sub/x.safetensors", "..", "", "x\0.safetensors", "x.bin"):
        folder(f"shard {shard!r}", **{"model.safetensors": None, "model.safetensors.index.json": {"weight_map": {"t": shard}}})
    folder("missing shard", "missing", **{"model.safetensors": None, "model.safetensors.index.json": {"weight_map": {"t": "x.safetensors"}}})
    folder("pickle", **{"model.safetensors": None, "pytorch_model.bin": b"\x80\x02ccollections\nOrderedDict\nq\0)Rq\x01."})
    config = json.loads((m.folder / "config.json").read_bytes())
    for name, text in {"config empty": b"", "config list": b"[]", "config twice": b'{"a":1,"a":2}', "config deep": b'{"a":' * 500_000,
                       "config deep lists": b'{"a":' + b"[" * 500_000, "config 1e400": b'{"hidden_size":1e400}', "config cut": b'{"hidden_size"',
                       "config nothing": b"{}"}.items():
        folder(name, **{"config.json": text})
    for key in config:
        for value in (0, -1, 2**31, 2**63, 1.5, "x", [], {}):
            if config[key] != value and key not in ("torch_dtype", "dtype", "use_cache"):
                folder(f"{key} {value!r}", **{"config.json": {**config, key: value}})
        folder(f"without {key}", **{"config.json": {k: v for k, v in config.items() if k != key}})
    tok = json.loads((m.folder / "tokenizer.json").read_bytes())
    broken = {"tokenizer empty": b"", "tokenizer deep": b'{"a":' * 500_000, "tokenizer list": b"[]", "tokenizer nothing": b"{}",
              "tokenizer absent": None, "tokenizer no model": {**tok, "model": None}, "tokenizer model type": {**tok, "model": {**tok["model"], "type": "X"}},
              "tokenizer ids": {**tok, "model": {**tok["model"], "vocab": {"a": -1, "b": 2**31, "c": 2**63}}},
              "tokenizer ids twice": {**tok, "model": {**tok["model"], "vocab": {"a": 0, "b": 0}}},
              "tokenizer merges": {**tok, "model": {**tok["model"], "merges": ["a", "b c d", 7]}},
              "tokenizer pair ends": b'{"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":[[] "a","b"]}}',
              "tokenizer pair short": b'{"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":[["a"] "b"]}}',
              "tokenizer score ends": b'{"model":{"type":"Unigram","vocab":[[] "a",1.5]}}',
              "tokenizer added": {**tok, "added_tokens": [{"id": 2**31, "content": "x"}, {"id": -1, "content": ""}]},
              "tokenizer regex": {**tok, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(((a*)*)*)*$("}, "behavior": "Isolated", "invert": False}}}
    for name, text in broken.items():
        folder(name, **{"tokenizer.json": text})


def special(m):
    """Things that are no files."""
    fifo, loop, link = m.root / "fifo.gguf", m.root / "loop.gguf", m.root / "zero.gguf"
    for p in (fifo, loop, link):
        p.unlink(missing_ok=True)
    os.mkfifo(fifo)
    loop.symlink_to(loop)
    link.symlink_to("/dev/zero")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "model.safetensors"):
        path = m.root / f"pipe as {name}"
        shutil.copytree(m.folder, path, dirs_exist_ok=True)
        (path / name).unlink(missing_ok=True)
        os.mkfifo(path / name)
        m.files.append((f"pipe as {name}", path, "regular file"))
    empty = m.root / "empty-folder"
    empty.mkdir(exist_ok=True)
    m.files += [("FIFO", fifo, "regular file"), ("symlink loop", loop, ""), ("link to a device", link, "regular file"), ("folder without a model", empty, ""),
                ("device", pathlib.Path("/dev/random"), "regular file"), ("procfs", pathlib.Path("/proc/self/environ"), ""),
                ("procfs maps", pathlib.Path("/proc/self/maps"), ""), ("sysfs", pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled"), "")]


def write_all(root):
    """[(name, path, words)] of everything above."""
    m = Maker(root)
    for part in (headers, shapes, keys, folders, special):
        part(m)
    return m


if __name__ == "__main__":
    print(len(write_all(sys.argv[1]).files), "bad files in", sys.argv[1])
