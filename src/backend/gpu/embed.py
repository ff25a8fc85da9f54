"""embed.py OUT.c VENDOR:ARCH:FILE... - C source that holds code objects and their table (driver.h), best first.

Each is packed with zlib into a file beside OUT.c, which the assembler takes in (.incbin).
"""
import os
import sys
import zlib

out, objects = sys.argv[1], [a.split(":", 2) for a in sys.argv[2:]]
text = ['#include "backend/gpu/driver.h"\n']
sizes = []
for i, (_, _, path) in enumerate(objects):
    data = open(path, "rb").read()
    packed = zlib.compress(data, 9)
    path = f"{out}.{i}.z"
    with open(path, "wb") as f:
        f.write(packed)
    sizes.append((len(data), len(packed)))
    text.append(f'__asm__(".section .rodata\\n.balign 64\\nrf_gpu_object_{i}:\\n.incbin \\"{os.path.abspath(path)}\\"\\n.byte 0\\n.previous\\n");')
    text.append(f'extern const unsigned char rf_gpu_object_{i}[] __attribute__((visibility("hidden")));')
text.append("const struct rf_gpu_object rf_gpu_objects[] = {")
for i, (vendor, arch, path) in enumerate(objects):
    text.append(f'    {{"{vendor}", "{arch}", rf_gpu_object_{i}, {sizes[i][0]}, {sizes[i][1]}}},')
text.append("    {NULL, NULL, NULL, 0, 0},\n};\n")
with open(out, "w") as f:
    f.write("\n".join(text))
print("code objects: " + ", ".join(f"{a} {n // 1024} KiB, {z // 1024} packed" for (_, a, _), (n, z) in zip(objects, sizes)))
