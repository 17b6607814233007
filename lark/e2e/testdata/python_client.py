"""Uses the generated Python client as somebody would: arguments are its folder, the gateway's address, a key (may be empty) and a file."""

import io
import sys
import time

folder, url, key, path = sys.argv[1:]
sys.path.insert(0, folder)

from larkstream_client import AuthenticatedClient, Client  # noqa: E402
from larkstream_client.api.jobs import cancel_job, get_job, list_jobs, list_outcomes, submit_job  # noqa: E402
from larkstream_client.api.models import list_models  # noqa: E402
from larkstream_client.api.runs import create_run, get_run  # noqa: E402
from larkstream_client.models import Job, JobState, Problem, RunSubmission, SubmitJobFilesBody, SubmitJobJsonBody  # noqa: E402
from larkstream_client.types import File  # noqa: E402

client = AuthenticatedClient(base_url=url, token=key) if key else Client(base_url=url)
with open(path, "rb") as f:
    audio = io.BytesIO(f.read())


def finish(job):
    assert isinstance(job, Job), job
    for _ in range(1200):
        job = get_job.sync(job.id, client=client)
        if job.ended_at:
            return job
        time.sleep(0.1)
    raise SystemExit("the job does not end")


sent = submit_job.sync_detailed(
    client=client, body=SubmitJobFilesBody(audio=File(payload=audio, file_name="song.wav"), questions=["How fast is it?"]), idempotency_key="python-1")
assert sent.status_code == 202, sent
job = finish(sent.parsed)
assert job.state == JobState.SUCCEEDED, job
outcomes = list_outcomes.sync(job.id, client=client).outcomes
assert len(outcomes) == 1 and outcomes[0].answer, outcomes

named = SubmitJobJsonBody(audio_ref=job.audio.sha256, questions=["Which key?"])
first = submit_job.sync_detailed(client=client, body=named, idempotency_key="python-2")
again = submit_job.sync_detailed(client=client, body=named, idempotency_key="python-2")
assert (first.status_code, again.status_code) == (202, 200), (first, again)
assert first.parsed.id == again.parsed.id and again.parsed.idempotent_reply
finish(first.parsed)

refused = submit_job.sync(client=client, body=SubmitJobJsonBody(audio_ref="00", questions=["q"]))
assert isinstance(refused, Problem) and refused.code == "audio_ref_invalid", refused
ended = cancel_job.sync(job.id, client=client)
assert isinstance(ended, Problem) and ended.code == "job_ended", ended
page = list_jobs.sync(client=client, limit=1)
assert len(page.jobs) == 1 and page.next_, page
assert list_models.sync(client=client).models
run = create_run.sync(client=client, body=RunSubmission(name="python", questions=["Which key?"]))
assert get_run.sync("python", client=client).id == run.id
print("ok")
