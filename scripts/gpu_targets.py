#!/usr/bin/env python3
"""Prints the GPU architectures of this machine, one a line: sm_90a, gfx1100. Nothing where there is none. Asks the drivers, needs no tool.

NVIDIA's through libcuda, AMD's in the kernel driver's list of devices (gfx_target_version: 90010 is gfx90a).
"""
import ctypes
import glob

MAJOR, MINOR = 75, 76  # CUdevice_attribute
SUFFIX = {"90": "90a"}  # code that uses what only this architecture has


def nvidia():
    try:
        lib = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return
    n, v, device = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if lib.cuInit(0) or lib.cuDeviceGetCount(ctypes.byref(n)):
        return
    for i in range(n.value):
        name = ""
        if lib.cuDeviceGet(ctypes.byref(device), i):
            continue
        for what in (MAJOR, MINOR):
            if lib.cuDeviceGetAttribute(ctypes.byref(v), what, device):
                break
            name += str(v.value)
        else:
            yield "sm_" + SUFFIX.get(name, name)


def amd(nodes="/sys/class/kfd/kfd/topology/nodes"):
    for path in sorted(glob.glob(nodes + "/*/properties")):
        with open(path) as f:
            facts = dict(line.split(None, 1) for line in f if " " in line)
        v = int(facts.get("gfx_target_version", 0))
        if v:
            yield f"gfx{v // 10000}{v // 100 % 100:x}{v % 100:x}"


if __name__ == "__main__":
    for target in dict.fromkeys([*nvidia(), *amd()]):
        print(target)
