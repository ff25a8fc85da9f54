"""embed.py ZSTD OUT.c VENDOR:ARCH:FILE... - C source that holds code objects and their table (driver.h).

Each is packed by the program ZSTD into a file beside OUT.c, which the assembler takes in (.incbin): by itself, or as the difference to the same part
of an earlier architecture that is packed by itself, whichever is smaller (neighbours are nearly the same code). Prints what each architecture takes;
more than 25 MB in all is an error.
"""
import os
import subprocess
import sys

BUDGET = 25_000_000
zstd, out, objects = sys.argv[1], sys.argv[2], [a.split(":", 2) for a in sys.argv[3:]]
text = ['#include "backend/gpu/driver.h"\n']
sizes, bases = [], []  # bases: index of the object that an object is the difference to, -1: none
parts = [sum(o[:2] == p[:2] for p in objects[:i]) for i, o in enumerate(objects)]  # which part of its architecture an object is


def pack(path, to, base=None):
    patch = [f"--patch-from={base}"] if base else []
    subprocess.run([zstd, "-19", "-q", "-q", "-f", "--no-check", *patch, path, "-o", to], check=True)
    return os.path.getsize(to)


for i, (vendor, _, path) in enumerate(objects):
    packed = f"{out}.{i}.zst"
    size, base, trial = pack(path, packed), -1, packed + ".trial"
    for j in range(i):
        if bases[j] < 0 and parts[j] == parts[i] and (objects[j][0] == vendor or size < 4096) and pack(path, trial, objects[j][2]) < 0.9 * size:
            size, base = os.path.getsize(trial), j
            os.replace(trial, packed)
    sizes.append((os.path.getsize(path), size))
    bases.append(base)
    text.append(f'__asm__(".section .rodata\\n.balign 64\\nrf_gpu_object_{i}:\\n.incbin \\"{os.path.abspath(packed)}\\"\\n.byte 0\\n.previous\\n");')
    text.append(f'extern const unsigned char rf_gpu_object_{i}[] __attribute__((visibility("hidden")));')
text.append("const struct rf_gpu_object rf_gpu_objects[] = {")
for i, (vendor, arch, path) in enumerate(objects):
    text.append(f'    {{"{vendor}", "{arch}", rf_gpu_object_{i}, {sizes[i][0]}, {sizes[i][1]}, {bases[i]}}},')
text.append("    {NULL, NULL, NULL, 0, 0, -1},\n};\n")
with open(out, "w") as f:
    f.write("\n".join(text))
each = {}
for (_, arch, _), (n, z) in zip(objects, sizes):
    each[arch] = (each.get(arch, (0, 0))[0] + n, each.get(arch, (0, 0))[1] + z)
total = sum(z for _, z in sizes)
real = {a: s for a, s in each.items() if a != "emulator"}  # the tests' few bytes are nobody's news
if real:
    print("GPU code: " + ", ".join(f"{a} {n // 1000} kB, {z // 1000} packed" for a, (n, z) in real.items()) + f"; {total / 1e6:.2f} MB packed in all")
if total > BUDGET:
    sys.exit(f"GPU code takes {total} bytes packed, more than {BUDGET}")
