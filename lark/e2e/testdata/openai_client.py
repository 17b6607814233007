"""Speaks to a gateway with OpenAI's own package, unmodified: base URL, key, wav file, tags' schema."""
import base64
import json
import sys

import openai

base, key, track, schema = sys.argv[1:5]
client = openai.OpenAI(base_url=base, api_key=key, max_retries=0)
data = base64.b64encode(open(track, "rb").read()).decode()
audio = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def ask(text):
    return {"role": "user", "content": [audio, {"type": "text", "text": text}]}


models = client.models.list().data
assert len(models) == 1, models
model = client.models.retrieve(models[0].id)
assert model.id == models[0].id and model.object == "model", model

done = client.chat.completions.create(model=model.id, messages=[ask("What is the tempo?")], temperature=0, metadata={"from": "python"}, user="me")
answer = done.choices[0].message.content
assert done.id.startswith("chatcmpl-") and done.object == "chat.completion", done
assert answer and done.choices[0].finish_reason == "stop" and done.choices[0].message.role == "assistant", done
usage = done.usage
assert 0 < usage.prompt_tokens_details.audio_tokens < usage.prompt_tokens, usage
assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage

talk = [ask("What is the tempo?"), {"role": "assistant", "content": answer}, {"role": "user", "content": "Are you sure?"}]
second = client.chat.completions.create(model=model.id, messages=talk)
assert second.choices[0].message.content, second

text, last, reasons = "", None, []
with client.chat.completions.create(model=model.id, messages=[ask("What key is it in?")], stream=True, stream_options={"include_usage": True}) as chunks:
    for chunk in chunks:
        last = chunk
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reasons.append(choice.finish_reason)
assert [r for r in reasons if r] == ["stop"], reasons
assert last.choices == [] and last.usage.prompt_tokens_details.audio_tokens > 0, last
whole = client.chat.completions.create(model=model.id, messages=[ask("What key is it in?")])
assert whole.choices[0].message.content == text, (whole, text)

tags = client.chat.completions.create(
    model=model.id, messages=[ask("Tags?")],
    response_format={"type": "json_schema", "json_schema": {"name": "music", "schema": json.load(open(schema)), "strict": True}})
assert "tempo_bpm" in json.loads(tags.choices[0].message.content), tags


def refused(kind, code, param, **change):
    asked = {"model": model.id, "messages": [ask("q")], **change}
    try:
        client.chat.completions.create(**asked)
    except kind as e:
        assert e.code == code and e.param == param, (e.code, e.param, e.body)
        return
    raise AssertionError(code)


refused(openai.BadRequestError, "unsupported_parameter", "tools", tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}])
refused(openai.BadRequestError, "unsupported_parameter", "n", n=2)
refused(openai.BadRequestError, "unsupported_parameter", "response_format", response_format={"type": "json_object"})
refused(openai.BadRequestError, "audio_required", "messages", messages=[{"role": "user", "content": "q"}])
refused(openai.NotFoundError, "model_not_found", "model", model="gpt-4o-audio-preview")
wrong = {"type": "input_audio", "input_audio": {"data": base64.b64encode(b"no audio at all").decode(), "format": "wav"}}
refused(openai.BadRequestError, "audio_undecodable", "messages", messages=[{"role": "user", "content": [wrong, {"type": "text", "text": "q"}]}])
try:
    client.models.retrieve("none")
    raise AssertionError("none")
except openai.NotFoundError as e:
    assert e.code == "model_not_found", e.body
print(json.dumps({"job": done.id.removeprefix("chatcmpl-"), "second": second.id.removeprefix("chatcmpl-")}))
