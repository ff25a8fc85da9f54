"""A streamed chat through the official openai client.   python3 chat_openai.py "question"   (server: rocmforge serve MODEL)"""
import os
import sys

from openai import OpenAI

client = OpenAI(base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8080/v1"), api_key=os.environ.get("OPENAI_API_KEY", "none"))
model = client.models.list().data[0].id
stream = client.chat.completions.create(
    model=model, stream=True, temperature=0, max_tokens=200,
    messages=[{"role": "user", "content": " ".join(sys.argv[1:]) or "Say hello."}])
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
