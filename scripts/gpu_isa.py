#!/usr/bin/env python3
"""gpu_isa.py [--table] BUILD... - what the compilers made of the GPU kernels, read from the code objects of build folders.

For each architecture a line of TAP (ok, not ok): every kernel is there but those that ONLY keeps to other targets; matrix instructions are where
EXPECTED says; no kernel keeps registers in memory (spilled vector registers, scratch, local memory) but those of ALLOWED, and those no more than it
says. --table: a line a kernel. Where they were packed, a line more for each folder: the sum of their sizes is within the budget.
Without code objects, or without llvm-readelf-19 and llvm-objdump-19 (Debian: llvm-19; for gfx950 llvm-22) for AMD's, the line is a SKIP.

NVIDIA's cubins need no tool: instructions have 16 bytes and their kind in the lowest 12 bits, the same from sm_80 to sm_120.
"""
import collections
import pathlib
import re
import shutil
import struct
import subprocess
import sys

NEWER = ("gfx950",)  # LLVM 19 does not know them
BUDGET = 25_000_000  # bytes packed; embed.py refuses to make more
PTX_SINCE = {r"::no_allocate": 7.4, r"\.L2::": 7.4, r"\bgriddepcontrol\b": 7.8}  # PTX ISA, the version of each instruction's parts
# Of SASS: matrix units (HGMMA with its left operand in shared memory, in registers); loads and stores of local memory.
KINDS = {0x23c: "HMMA", 0x9f0: "HGMMA", 0xdf0: "HGMMA", 0x983: "LDL", 0x387: "STL"}
ONE_FORM = "f8|f16|bf16|q4_0|q5_0|q8_0|q4_k|q5_k|q6_k|q4_k_q6_k"  # weights whose rows go through the matrix unit on NVIDIA (matmul.gpu)
LARGE = r"gemm|gemm_few_(?!sum).*|flash_.*"
ONLY = [(r"gemm_stream_.*|gemm_sum", r"sm_90a")]  # kernels that no other target has (RF_GPU_OTHER_KERNELS)
DECODE = r"attn_decode_\d+"  # not on RDNA: kernels/matrix.h

# Target, kernels, the instruction that each of them must have. First match wins; None: must have no matrix instruction.
EXPECTED = [
    (r"sm_90a", r"gemm|gemm_stream_.*", "HGMMA"),
    (r"sm_.*", LARGE + rf"|matmul_({ONE_FORM})_\d", "HMMA"),
    (r"ptx", LARGE + rf"|matmul_({ONE_FORM})_\d", "mma.sync"),
    (r"gfx90a|gfx94.|gfx950", LARGE, "v_mfma_f32_16x16x16"),
    (r"gfx1[12]..", LARGE, "v_wmma_f32_16x16x16"),
    (r"sm_.*", DECODE, "HMMA"),
    (r"ptx", DECODE, "mma.sync"),
    (r"gfx90a|gfx94.|gfx950", DECODE, "v_mfma_f32_16x16x16"),
    (r"gfx.*", DECODE, None),
    (r"gfx906|gfx908|gfx10..", LARGE, None),  # gfx908's unit has no 16x16x16 bf16 product; its kernels are plain arithmetic
]

# Target, kernels, most of it, why. AMD: spilled vector registers; NVIDIA: loads and stores of local memory in the code (of PTX: those that the driver
# will not make registers; "ptx-clang" is made without nvcc). Found with clang 19.1.7 and nvcc 13.0; another compiler may need other figures.
SHARED = "so many blocks share a processor that a thread has 80 registers (G_KERNEL_SHARING, G_KERNEL_DENSE)"
EIGHT = "sums of four or eight rows of x beside a chunk's operands"
COPIED = "arguments that are indexed: clang 19 copies them to local memory first (__grid_constant__, which would spare it, came with clang 20)"
WIDE = "heads of 256: 160 of 256 registers are sums"
ALLOWED = [
    (r"sm_(80|86|89|90a)", r"gemm_few_q5_1", 69, SHARED),
    (r"sm_1[02]0", r"gemm_few_(bf16|q2_k|q3_k|q4_1|q5_1)", 31, SHARED),
    (r"sm_90a", r"gemm_few_f16", 8, SHARED),
    (r"sm_90a", r"gemm_stream_q4_k", 5, "what is needed before and after the loop over chunks"),
    (r"sm_80", r"matmul_f32_4", 2, EIGHT),
    (r"sm_8[69]", r"matmul_(f32|q4_1|q5_1|q5_k|q6_k)_8", 12, EIGHT),
    (r"sm_1[02]0", r"matmul_q[45]_k_4", 15, EIGHT),
    (r"sm_1[02]0", r"matmul_q6_k_1", 25, "two chunks of Q6_K on their way (matmul_one.h)"),
    (r"sm_90a", r"matmul_q[56]_k_8", 6, EIGHT),
    (r"sm_1[02]0", r"matmul_q[456]_k_8", 24, EIGHT),
    (r"ptx-clang", r"gemm", 35, COPIED),
    (r"ptx-clang", r"matmul_(f8|f16|bf16|q[458]_0|q[456]_k|q4_k_q6_k)_1", 102, COPIED),
    (r"ptx-clang", r"attn", 525, "running results of 16 rows, indexed by a loop that clang does not unroll"),
    (r"ptx-clang", r"pack_rows_(f32|bf16)", 1, "16 bytes of a file's row, taken by address"),
    (r"gfx10..", r"flash_b?f16_256", 24, WIDE),
    (r"gfx11..", r"flash_b?f16_256", 8, WIDE),
]


class Kernel:
    def __init__(self, name):
        self.name, self.registers, self.spilled, self.scratch, self.scalars, self.code = name, 0, 0, 0, 0, collections.Counter()
        self.compiler = ""  # "-clang": PTX that nvcc did not make

    def matrix(self):
        return {k: n for k, n in self.code.items() if re.match(r"HG?MMA|v_mfma|v_wmma|(wg)?mma", k)}


def sections(path):
    """(name, bytes) of a 64-bit ELF file."""
    b = path.read_bytes()
    at, = struct.unpack_from("<Q", b, 40)
    size, n, names = struct.unpack_from("<HHH", b, 58)
    table = [struct.unpack_from("<IIQQQQIIQQ", b, at + i * size) for i in range(n)]
    for s in table:
        from_ = table[names][4] + s[0]
        yield b[from_:b.index(b"\0", from_)].decode(), b[s[4]:s[4] + s[5]] if s[1] != 8 else b""


def read_cubin(path):
    for name, code in sections(path):
        if not name.startswith(".text."):
            continue
        k = Kernel(name[6:])
        for i in range(0, len(code) - 15, 16):
            kind = KINDS.get(struct.unpack_from("<Q", code, i)[0] & 0xFFF)
            if kind:
                k.code[kind] += 1
        k.spilled = k.code["LDL"] + k.code["STL"]
        yield k


def read_ptx(path):
    text = path.read_text()
    for part in re.split(r"\.entry\s+", text)[1:]:
        k = Kernel(re.match(r"\w+", part)[0])
        k.compiler = "-clang" if "Generated by LLVM" in text else ""
        k.code["mma.sync"] = len(re.findall(r"\bmma\.sync\.", part))
        k.spilled = len(re.findall(r"\b(?:ld|st)\.local\b", part))
        k.scratch = sum(int(n) for n in re.findall(r"\.local\s[^;]*\[(\d+)\]", part))
        yield k


def ptx_faults(path):
    """What a driver would refuse: instructions of a later PTX than the file claims; all else that ptxas finds, where it is there."""
    text = path.read_text()
    claimed = float(re.search(r"^\.version (\S+)", text, flags=re.M)[1])
    for what, since in PTX_SINCE.items():
        if claimed < since and re.search(what, text):
            yield f"{path.name} says PTX {claimed}, but {what} came with {since}"
    ptxas = shutil.which("ptxas") or shutil.which("/usr/local/cuda/bin/ptxas")
    if ptxas:
        told = subprocess.run([ptxas, "-arch=sm_80", "-o", "/dev/null", path], capture_output=True, text=True)
        if told.returncode:
            yield f"{path.name}: {told.stderr.splitlines()[0] if told.stderr else 'ptxas refuses it'}"


def llvm(path):
    """Version of the LLVM tools that know a code object's architecture; None: not here."""
    versions = (22, 21, 20) if path.name.startswith(NEWER) else (19,)
    return next((v for v in versions if shutil.which(f"llvm-readelf-{v}") and shutil.which(f"llvm-objdump-{v}")), None)


def read_hsaco(path):
    kernels, v = {}, llvm(path)
    notes = subprocess.run([f"llvm-readelf-{v}", "--notes", path], capture_output=True, text=True, check=True).stdout
    keys = {"vgpr_count": "registers", "vgpr_spill_count": "spilled", "sgpr_spill_count": "scalars", "private_segment_fixed_size": "scratch"}
    for part in re.split(r"^  - (?=\.)", notes, flags=re.M)[1:]:  # a kernel's map
        facts = dict(re.findall(r"^(?:    )?\.(\w+): +(\S+)$", part, flags=re.M))
        k = kernels[facts["name"]] = Kernel(facts["name"])
        for key, field in keys.items():
            setattr(k, field, int(facts[key]))
    text = subprocess.run([f"llvm-objdump-{v}", "-d", "--no-show-raw-insn", path], capture_output=True, text=True, check=True).stdout
    k = None
    for line in text.splitlines():
        head = re.match(r"[0-9a-f]+ <(\w+)>:", line)
        if head:
            k = kernels.get(head[1])
        elif k and line.startswith("\t"):
            k.code[line.split(None, 1)[0]] += 1
    return kernels.values()


def packed(folder):
    """Bytes of each architecture as they are embedded (whole, packed), from embed.py's table; the tests' own few left out."""
    try:
        table = (folder / "src/backend/gpu/gpu_objects.c").read_text()
    except FileNotFoundError:
        return {}
    sizes = collections.defaultdict(lambda: [0, 0])
    for arch, n, z in re.findall(r'^    \{"\w+", "(\w+)", rf_gpu_object_\d+, (\d+), (\d+),', table, flags=re.M):
        if arch != "emulator":
            sizes[arch][0] += int(n)
            sizes[arch][1] += int(z)
    return sizes


READERS = {".cubin": read_cubin, ".ptx": read_ptx, ".hsaco": read_hsaco}


def faults_of(target, kernels, names):
    elsewhere = {n for n in names for k, t in ONLY if re.fullmatch(k, n) and not re.fullmatch(t, target)}
    found = [f"{n} is missing" for n in sorted(names - elsewhere - {k.name for k in kernels})]
    found += [f"{k.name} is not for this target, says ONLY" for k in kernels if k.name in elsewhere]
    for k in sorted(kernels, key=lambda k: k.name):
        want = next((w for t, n, w in EXPECTED if re.fullmatch(t, target) and re.fullmatch(n, k.name)), "")
        if want and not any(c.startswith(want) for c in k.code if k.code[c]):
            found.append(f"{k.name} has no {want}")
        if want is None and any(k.matrix().values()):
            found.append(f"{k.name} has {', '.join(k.matrix())}, which EXPECTED does not know of")
        most = max((m for t, n, m, _ in ALLOWED if re.fullmatch(t, target + k.compiler) and re.fullmatch(n, k.name)), default=0)
        if k.spilled > most or (k.scratch and not most):
            found.append(f"{k.name} keeps registers in memory: {k.spilled} spilled, {k.scratch} bytes; allowed {most}")
    return found


def main():
    table, folders = "--table" in sys.argv, [pathlib.Path(a) for a in sys.argv[1:] if a != "--table"]
    if not folders:
        sys.exit(__doc__)
    objects = collections.defaultdict(list)
    for folder in folders:
        for f in sorted(folder.glob("src/backend/gpu/*.*.*")):
            if f.suffix in READERS:
                objects[folder, f.name.split(".")[0]].append(f)
    n = bad = 0
    read = {}
    for (folder, target), files in objects.items():
        if target.startswith("gfx") and not llvm(files[0]):
            continue
        read[folder, target] = [k for f in files for k in READERS[f.suffix](f)]
    for (folder, target) in objects:
        n += 1
        if (folder, target) not in read:
            print(f"ok {n} - {folder} {target} # SKIP llvm-readelf or llvm-objdump is missing (Debian: llvm-{22 if target in NEWER else 19})")
            continue
        kernels, vendor = read[folder, target], target.startswith("gfx")
        names = {k.name for (o, t), other in read.items() if o == folder and t.startswith("gfx") == vendor for k in other}
        faults = faults_of(target, kernels, names) + [fault for f in objects[folder, target] if f.suffix == ".ptx" for fault in ptx_faults(f)]
        bad += bool(faults)
        spills = [k for k in kernels if k.spilled]
        print(f"{'not ' if faults else ''}ok {n} - {folder} {target}: {len(kernels)} kernels, {sum(sum(k.matrix().values()) for k in kernels)} matrix instructions, "
              f"{sum(k.spilled for k in spills)} spilled in {len(spills)} kernels")
        for k in sorted(kernels, key=lambda k: k.name) if table else []:
            matrix = ", ".join(f"{c} {m}" for c, m in k.matrix().items() if m)
            print(f"#   {target:8} {k.name:20} registers {k.registers or '-':>4}  spilled {k.spilled:4}  scratch {k.scratch:5}  scalars {k.scalars:4}  {matrix}")
        for fault in faults:
            print(f"#   {target}: {fault}")
    for folder, sizes in ((f, packed(f)) for f in folders):
        if not sizes:
            continue
        n += 1
        total = sum(z for _, z in sizes.values())
        bad += total > BUDGET
        print(f"{'not ' if total > BUDGET else ''}ok {n} - {folder}: code of {len(sizes)} architectures takes {total / 1e6:.2f} MB packed, {BUDGET / 1e6:.0f} at most")
        for arch, (whole, z) in sizes.items():
            print(f"#   {arch:8} {whole // 1000:6} kB, {z // 1000:5} packed")
    if not n:
        print(f"ok 1 - GPU code of {', '.join(map(str, folders))} # SKIP none was built (-Dgpu_targets)")
    print(f"1..{n or 1}")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
