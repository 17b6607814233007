"""Has a batch done with OpenAI's own package, unmodified: base URL, key, wav file."""
import base64
import json
import sys
import time

import openai

base, key, track = sys.argv[1:4]
client = openai.OpenAI(base_url=base, api_key=key, max_retries=0)
model = client.models.list().data[0].id
data = base64.b64encode(open(track, "rb").read()).decode()


def line(name, text, **more):
    parts = [{"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}, {"type": "text", "text": text}]
    body = {"model": model, "messages": [{"role": "user", "content": parts}], **more}
    return json.dumps({"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body})


def upload(*lines):
    return client.files.create(file=("requests.jsonl", "\n".join(lines).encode()), purpose="batch", expires_after={"anchor": "created_at", "seconds": 7200})


def run(file, window="24h"):
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window=window, metadata={"from": "python"})
    assert batch.status == "validating" and batch.metadata == {"from": "python"}, batch
    until = time.monotonic() + 90
    while batch.status not in ("completed", "failed", "expired", "cancelled"):
        assert time.monotonic() < until, batch
        time.sleep(0.1)
        batch = client.batches.retrieve(batch.id)
    return batch


file = upload(line("tempo", "What is the tempo?"), line("two", "q", n=2), line("key", "What key is it in?"))
assert file.purpose == "batch" and file.expires_at - file.created_at == 7200, file
assert [f.id for f in client.files.list(purpose="batch", limit=1)][0] == file.id
done = run(file)
assert done.status == "completed", done
assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (3, 2, 1), done
output = [json.loads(text) for text in client.files.content(done.output_file_id).text.splitlines()]
assert [o["custom_id"] for o in output] == ["tempo", "key"], output
for o in output:
    completion = openai.types.chat.ChatCompletion.model_validate(o["response"]["body"])
    assert completion.choices[0].message.content and completion.usage.prompt_tokens_details.audio_tokens > 0, completion
faults = [json.loads(text) for text in client.files.content(done.error_file_id).text.splitlines()]
assert [(f["custom_id"], f["response"]["status_code"], f["response"]["body"]["error"]["param"]) for f in faults] == [("two", 400, "n")], faults

failed = run(upload(line("a", "q"), line("a", "q"), "no json"))
assert failed.status == "failed" and [(e.code, e.line) for e in failed.errors.data] == [("duplicate_custom_id", 2), ("invalid_json_line", 3)], failed
assert {b.id for b in client.batches.list(limit=1)} >= {done.id, failed.id}
try:
    client.batches.cancel(done.id)
    raise AssertionError("cancelled after its end")
except openai.BadRequestError as e:
    assert e.code == "batch_ended", e.body
assert client.files.delete(file.id).deleted
try:
    client.files.retrieve(file.id)
    raise AssertionError("deleted")
except openai.NotFoundError as e:
    assert e.code == "file_not_found", e.body
