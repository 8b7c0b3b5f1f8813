"""Call a server with Cohere's own client, and print the results as JSON: python call_cohere.py ADDRESS TOKEN."""

import json
import sys

import cohere

address, token = sys.argv[1:]
query = "When does the library open?"
documents = ["Der Zug hat Verspätung.", "図書館は午前九時に開館します。", "The price of maize rose."]
found = {}
for name, client in {
    "v1": cohere.Client(api_key=token, base_url=address),
    "v2": cohere.ClientV2(api_key=token, base_url=address),
}.items():
    answer = client.rerank(model="default", query=query, documents=documents, top_n=2)
    found[name] = [[one.index, one.relevance_score] for one in answer.results]
try:
    cohere.ClientV2(api_key=token, base_url=address).rerank(model="default", query=" ", documents=documents)
except cohere.UnprocessableEntityError as error:
    found["error"] = error.status_code
print(json.dumps(found))
