#!/bin/sh
# One question over HTTP with curl, streamed.   sh chat.sh "question"   (server: rocmforge serve MODEL)
url=${OPENAI_BASE_URL:-http://127.0.0.1:8080/v1}
question=$(printf %s "${1:-Say hello.}" | sed 's/[\\"]/\\&/g') # as JSON wants it; one line
curl -sS "$url/completions" -H 'Content-Type: application/json' -H "Authorization: Bearer ${OPENAI_API_KEY:-none}" \
  -d '{"prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}'
echo
curl -sSN "$url/chat/completions" -H 'Content-Type: application/json' -H "Authorization: Bearer ${OPENAI_API_KEY:-none}" \
  -d '{"messages": [{"role": "user", "content": "'"$question"'"}], "max_tokens": 20, "temperature": 0, "stream": true}'
