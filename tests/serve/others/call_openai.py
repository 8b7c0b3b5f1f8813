"""Call a server with OpenAI's own client, and print the results as JSON: python call_openai.py ADDRESS TOKEN."""

import json
import sys

import openai

address, token = sys.argv[1:]
client = openai.OpenAI(base_url=f"{address}/v1", api_key=token, max_retries=0)
texts = ["Der Zug nach Berlin hat Verspätung.", "Bei ya mahindi imepanda sokoni.", "駅前に新しい図書館が開館した。"]
models = [one.id for one in client.models.list()]
found = {
    "models": models,
    "one": client.models.retrieve(models[0]).id,
    # The client asks for base64 unless told otherwise, and decodes it.
    "vectors": [one.embedding for one in client.embeddings.create(model=models[0], input=texts).data],
    "floats": [
        one.embedding
        for one in client.embeddings.create(model=models[0], input=texts, encoding_format="float", dimensions=64).data
    ],
    "single": client.embeddings.create(model=models[0], input=texts[0]).data[0].embedding,
    "tokens": client.embeddings.create(model=models[0], input=texts).usage.prompt_tokens,
}
errors = {}
for name, call in {
    "blank": lambda: client.embeddings.create(model=models[0], input=" "),
    "tokens": lambda: client.embeddings.create(model=models[0], input=[[1, 2, 3]]),
    "model": lambda: client.embeddings.create(model="none", input="a"),
    "token": lambda: client.with_options(api_key="wrong").models.list(),
}.items():
    try:
        call()
    except openai.APIStatusError as error:
        errors[name] = [type(error).__name__, error.status_code, error.response.json()["detail"]]
print(json.dumps(found | {"errors": errors}))
