"""embed.py OUT.c VENDOR:ARCH:FILE... - C source that holds code objects and their table (driver.h), best first.

The files are taken in by the assembler (.incbin), a zero byte behind each: PTX is text.
"""
import os
import sys

out, objects = sys.argv[1], [a.split(":", 2) for a in sys.argv[2:]]
text = ['#include "backend/gpu/driver.h"\n']
for i, (_, _, path) in enumerate(objects):
    text.append(f'__asm__(".section .rodata\\n.balign 64\\nrf_gpu_object_{i}:\\n.incbin \\"{os.path.abspath(path)}\\"\\n.byte 0\\n.previous\\n");')
    text.append(f'extern const unsigned char rf_gpu_object_{i}[] __attribute__((visibility("hidden")));')
text.append("const struct rf_gpu_object rf_gpu_objects[] = {")
for i, (vendor, arch, path) in enumerate(objects):
    text.append(f'    {{"{vendor}", "{arch}", rf_gpu_object_{i}, {os.path.getsize(path)}}},')
text.append("    {NULL, NULL, NULL, 0},\n};\n")
with open(out, "w") as f:
    f.write("\n".join(text))
print("code objects: " + ", ".join(f"{a} {os.path.getsize(p) // 1024} KiB" for _, a, p in objects))
