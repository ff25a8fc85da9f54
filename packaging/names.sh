# For the scripts beside it, which source it in the project's folder: names that stand in the sources.
version=$(sed -n 's/^#define RF_VERSION "\(.*\)"/\1/p' include/rocmforge.h)
http_library=$(sed -n 's/^#define NAME "\(.*\)".*/\1/p' src/serve/mhd.c) # loaded by name when serving begins
