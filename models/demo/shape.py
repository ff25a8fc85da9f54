"""The model's shape, and the first ids of its tokenizer. Rows are multiples of 256, so that K-quants fit."""
DIM, LAYERS, HEADS, KV_HEADS, FFN, VOCAB, CTX, THETA, EPS = 512, 8, 8, 4, 1536, 8192, 1024, 10000.0, 1e-5
EOT, SYSTEM, USER, ASSISTANT, END = range(5)
SPECIAL = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
