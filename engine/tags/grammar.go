package tags

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Grammar is the form in GBNF, the grammar notation of llama.cpp, with the root rule "root". It leaves nothing open that a
// decoder could spin in: no white space outside the description, the fields in one order, and every repetition bounded. The
// description has no escapes, so neither quotes, backslashes nor control characters. Whatever it derives, Parse reads. (llama.cpp
// also lets bytes through that are no UTF-8, such as overlong forms; engines write U+FFFD for them, and Parse drops it.)
func Grammar() string {
	var b strings.Builder
	var members []string
	for i, name := range names() {
		before := ","
		if i == 0 {
			before = "{"
		}
		members = append(members, fmt.Sprintf("%s %s", literal(before+strconv.Quote(name)+":"), rule(name)))
	}
	fmt.Fprintf(&b, "root ::= %s %s\n", strings.Join(members, " "), literal("}"))
	// MinTempoBPM to MaxTempoBPM.
	b.WriteString("tempo-bpm ::= \"null\" | [2-9] [0-9] | [1-2] [0-9] [0-9] | \"300\"\n")
	fmt.Fprintf(&b, "key ::= %s\n", words(append(quoted(Keys()), "null")))
	fmt.Fprintf(&b, "mode ::= %s\n", words(append(quoted(Modes()), "null")))
	fmt.Fprintf(&b, "metre ::= %s\n", words(append(quoted(Metres()), "null")))
	fmt.Fprintf(&b, "instruments ::= \"null\" | \"[\" instrument (\",\" instrument){0,%d} \"]\"\n", MaxInstruments-1)
	fmt.Fprintf(&b, "instrument ::= %s\n", words(quoted(Instruments())))
	fmt.Fprintf(&b, "genre ::= %s\n", words(append(quoted(Genres()), "null")))
	fmt.Fprintf(&b, "mood ::= \"null\" | \"[\" feeling (\",\" feeling){0,%d} \"]\"\n", MaxMoods-1)
	fmt.Fprintf(&b, "feeling ::= %s\n", words(quoted(Moods())))
	fmt.Fprintf(&b, "description ::= \"null\" | \"\\\"\" character{1,%d} \"\\\"\"\n", MaxDescription)
	b.WriteString(`character ::= [^"\\\x00-\x1F\x7F-\x9F]` + "\n")
	return b.String()
}

// rule is a field's rule; GBNF names have hyphens where JSON's have underscores.
func rule(field string) string { return strings.ReplaceAll(field, "_", "-") }

// quoted is each value as JSON text.
func quoted(values []string) []string {
	out := make([]string, 0, len(values)+1)
	for _, v := range values {
		out = append(out, `"`+v+`"`) // the vocabularies hold nothing that JSON escapes
	}
	return out
}

func words(texts []string) string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = literal(t)
	}
	return strings.Join(out, " | ")
}

// literal is text as a GBNF string.
func literal(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// JSONSchema is the form as JSON Schema (2020-12), within the keywords that structured decoding commonly supports: neither
// uniqueItems nor pattern. Whatever it admits, Parse reads, but for control characters in the description.
func JSONSchema() []byte {
	properties := make([]string, 0, len(names()))
	for _, name := range names() {
		raw, err := json.Marshal(property(name))
		if err != nil {
			panic(err) // unreachable: maps of texts, numbers and lists always encode
		}
		properties = append(properties, fmt.Sprintf("%q:%s", name, raw))
	}
	required, err := json.Marshal(names())
	if err != nil {
		panic(err) // unreachable: a list of texts always encodes
	}
	// Written by hand around the parts because decoders keep the order of the properties, and a map has none.
	return fmt.Appendf(nil, `{"$schema":"https://json-schema.org/draft/2020-12/schema","title":"larkstream tags, version %d",`+
		`"type":"object","properties":{%s},"required":%s,"additionalProperties":false}`, Version, strings.Join(properties, ","), required)
}

type object map[string]any

func property(name string) object {
	switch name {
	case "tempo_bpm":
		return nullable(object{"type": "integer", "minimum": MinTempoBPM, "maximum": MaxTempoBPM})
	case "key":
		return choice(Keys())
	case "mode":
		return choice(Modes())
	case "metre":
		return choice(Metres())
	case "instruments":
		return nullable(array(Instruments(), MaxInstruments))
	case "genre":
		return choice(Genres())
	case "mood":
		return nullable(array(Moods(), MaxMoods))
	}
	return nullable(object{"type": "string", "minLength": 1, "maxLength": MaxDescription})
}

func choice(words []string) object { return nullable(object{"type": "string", "enum": words}) }

func array(words []string, limit int) object {
	return object{"type": "array", "items": object{"type": "string", "enum": words}, "minItems": 1, "maxItems": limit}
}

func nullable(of object) object { return object{"anyOf": []object{of, {"type": "null"}}} }
