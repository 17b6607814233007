// Submits a job and shows its event stream. All text goes in as text, never as markup.
"use strict";
const $ = (id) => document.getElementById(id);
let source = null, job = null, windows = {};

fetch("/v1/models").then((r) => r.json()).then((list) => {
  if (list.models.length) $("model").textContent = "Model: " + list.models[0].id + ".";
}).catch(() => {});

$("ask").addEventListener("submit", async (e) => {
  e.preventDefault();
  if (source) source.close();
  const questions = $("questions").value.split("\n").map((q) => q.trim()).filter(Boolean);
  const form = new FormData();
  form.append("request", new Blob([JSON.stringify({ questions, plan: $("plan").value })], { type: "application/json" }), "");
  form.append("audio", $("audio").files[0]);
  $("send").disabled = true;
  begin();
  try {
    const resp = await fetch("/v1/jobs", { method: "POST", body: form });
    const body = await resp.json();
    if (!resp.ok) return fault(body.detail + " (" + body.code + ")");
    job = body;
    watch();
  } catch (err) {
    fault(String(err));
  }
});

$("cancel").addEventListener("click", () => fetch(job.links.cancel, { method: "POST" }));

function begin() {
  $("job").hidden = false;
  $("answers").replaceChildren();
  $("stages").textContent = $("link").textContent = $("trace").textContent = "";
  windows = {};
  say("Sending the track …");
}

function say(text, bad) {
  $("state").textContent = text;
  $("state").className = bad ? "bad" : "";
}

function fault(text) {
  say(text, true);
  $("send").disabled = false;
  $("cancel").hidden = true;
}

function watch() {
  $("link").href = job.links.self;
  $("link").textContent = "job " + job.id.slice(0, 8);
  if (job.trace_id) {
    $("trace").href = "/debug/traces/" + job.trace_id;
    $("trace").textContent = "trace";
  }
  say("Queued …");
  $("cancel").hidden = false;
  source = new EventSource(job.links.events);
  source.addEventListener("progress", (e) => progress(JSON.parse(e.data)));
  source.addEventListener("token", (e) => token(JSON.parse(e.data)));
  source.addEventListener("outcome", (e) => outcome(JSON.parse(e.data)));
  source.addEventListener("end", (e) => end(JSON.parse(e.data)));
}

function progress(p) {
  windows[p.stage] = windows[p.stage] || {};
  windows[p.stage][p.window] = p.status;
  const parts = Object.entries(windows).map(([stage, w]) => {
    const done = Object.values(w).filter((s) => s === "done" || s === "skipped").length;
    const skipped = Object.values(w).filter((s) => s === "skipped").length;
    return stage + " " + done + "/" + Object.keys(w).length + (skipped ? " (" + skipped + " known already)" : "");
  });
  $("stages").textContent = parts.join(" → ");
  say("Working …");
}

// place finds or makes where the answer to a question on a window is shown.
function place(question, window) {
  const id = "a" + question + "-" + window;
  let box = $(id);
  if (!box) {
    box = document.createElement("div");
    box.id = id;
    box.className = "answer";
    box.append(document.createElement("b"), document.createElement("span"), document.createElement("small"));
    box.firstChild.textContent = job.questions[question].text;
    box.lastChild.className = "dim";
    $("answers").append(box);
  }
  return box;
}

function token(t) {
  const text = place(t.question, t.window).children[1];
  if (t.seq === 0) text.textContent = "";
  text.textContent += t.text;
}

function outcome(o) {
  const box = place(o.question_index, o.window.index);
  box.classList.add(o.state);
  box.children[1].textContent = o.state === "answered" ? o.answer : o.error.message + " (" + o.error.code + ")";
  const heard = o.window.end_s ? " seconds " + o.window.start_s.toFixed(0) + " to " + o.window.end_s.toFixed(0) + "," : "";
  box.children[2].textContent = " " + heard + " " + (o.timings_ms.total / 1000).toFixed(2) + " s" + (o.cache === "hit" ? ", embedding known" : "");
}

function end(e) {
  source.close();
  source = null;
  say("Job " + e.state + ".", e.state !== "succeeded");
  $("send").disabled = false;
  $("cancel").hidden = true;
}
