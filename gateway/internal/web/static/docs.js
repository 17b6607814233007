// Renders /openapi.json. All text goes in as text, never as markup.
"use strict";
const el = (tag, text, cls) => {
  const e = document.createElement(tag);
  if (text !== undefined) e.textContent = text;
  if (cls) e.className = cls;
  return e;
};

// prose shows text, with what stands in backquotes as code.
function prose(e, text) {
  (text || "").split("`").forEach((part, i) => e.append(i % 2 ? el("code", part) : part));
  return e;
}

// typeName shows a schema in a few words, with a link to its type.
function typeName(s) {
  const out = el("span");
  if (!s) return out;
  if (s.$ref) {
    const name = s.$ref.split("/").pop();
    const a = el("a", name);
    a.href = "#" + name;
    out.append(a);
  } else if (s.oneOf) {
    s.oneOf.forEach((o, i) => out.append(i ? " or " : "", typeName(o)));
  } else if (s.items) {
    out.append("list of ", typeName(s.items));
  } else {
    const types = [].concat(s.type || "any");
    out.append(types.join(" or ") + (s.format ? " (" + s.format + ")" : ""));
  }
  return out;
}

// limits shows what a schema demands and what it says.
function limits(s) {
  const out = [];
  if (s.description) out.push(s.description);
  if (s.enum) out.push("One of: " + s.enum.filter((v) => v !== "").join(", "));
  for (const [key, word] of [["minimum", "at least"], ["maximum", "at most"], ["maxLength", "characters at most"], ["default", "default"]]) {
    if (s[key] !== undefined) out.push(word + " " + s[key]);
  }
  return out.join(". ");
}

function table(rows) {
  const t = el("table"), head = el("tr");
  for (const h of ["Name", "Type", "Meaning"]) head.append(el("th", h));
  t.append(head);
  for (const [name, type, meaning] of rows) {
    const tr = el("tr"), td = el("td"), code = el("code", name);
    td.append(code);
    const tt = el("td");
    tt.append(type);
    tr.append(td, tt, prose(el("td"), meaning));
    t.append(tr);
  }
  return t;
}

function properties(schema) {
  const required = new Set(schema.required || []);
  return table(Object.entries(schema.properties || {}).map(([name, s]) =>
    [name + (required.has(name) ? "" : "?"), typeName(s), limits(s)]));
}

function operation(path, method, op) {
  const d = el("details"), s = el("summary");
  s.append(el("span", method.toUpperCase(), "method " + method), el("code", path), " — " + op.summary);
  d.append(s, prose(el("p"), op.description));
  if (op.parameters) {
    d.append(el("h3", "Parameters"), table(op.parameters.map((p) =>
      [p.name + (p.required ? "" : "?"), el("span", p.in), p.description || limits(p.schema)])));
  }
  for (const [type, body] of Object.entries((op.requestBody || {}).content || {})) {
    const h = el("h3", "Body: ");
    h.append(el("code", type), " ", typeName(body.schema.$ref ? body.schema : {type: "form"}));
    d.append(h);
    if (body.schema.properties) d.append(properties(body.schema));
  }
  d.append(el("h3", "Answers"));
  d.append(table(Object.entries(op.responses).map(([code, r]) => {
    const [type, media] = Object.entries(r.content || {})[0] || ["", {}];
    const shown = typeName(media.schema);
    if (type) shown.append(" as " + type);
    return [code, shown, r.description];
  })));
  return d;
}

fetch("/openapi.json").then((r) => r.json()).then((spec) => {
  prose(document.getElementById("description"), spec.info.description).firstChild.remove();
  for (const [path, methods] of Object.entries(spec.paths)) {
    for (const [method, op] of Object.entries(methods)) {
      document.getElementById("operations").append(operation(path, method, op));
    }
  }
  for (const [name, schema] of Object.entries(spec.components.schemas)) {
    const h = el("h3", name);
    h.id = name;
    document.getElementById("types").append(h, properties(schema));
  }
}).catch((err) => { document.getElementById("description").textContent = "The specification cannot be read: " + err; });
