"""embed.py OUT.c FILE... - C source with the page's files as rf_web_files (web.h): each as it is and as gzip."""
import gzip
import hashlib
import os
import sys

TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
         ".js": "text/javascript; charset=utf-8"}
MOST = 150_000  # bytes of the whole page, before compression

out, files = sys.argv[1], sys.argv[2:]
text = ['#include "serve/web.h"\n']
rows, total = [], 0


def hold(symbol, data):
    """The assembler takes the bytes in from a file beside OUT.c."""
    path = os.path.abspath(f"{out}.{symbol}")
    with open(path, "wb") as f:
        f.write(data)
    text.append(f'__asm__(".section .rodata\\n{symbol}:\\n.incbin \\"{path}\\"\\n.byte 0\\n.previous\\n");')
    text.append(f'extern const unsigned char {symbol}[] __attribute__((visibility("hidden")));')


for i, path in enumerate(files):
    data = open(path, "rb").read()
    packed = gzip.compress(data, 9, mtime=0)
    name = os.path.basename(path)
    total += len(data)
    hold(f"rf_web_plain_{i}", data)
    hold(f"rf_web_packed_{i}", packed)
    rows.append(f'    {{"{name}", "{TYPES[os.path.splitext(name)[1]]}", "{hashlib.sha256(data).hexdigest()[:32]}", '
                f"rf_web_plain_{i}, rf_web_packed_{i}, {len(data)}, {len(packed)}}},")
if total > MOST:
    sys.exit(f"embed.py: the page has {total} bytes, at most {MOST} are wanted")
text += ["const struct rf_web_file rf_web_files[] = {", *rows, "    {NULL, NULL, NULL, NULL, NULL, 0, 0},\n};\n"]
with open(out, "w") as f:
    f.write("\n".join(text))
