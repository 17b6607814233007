package tags_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// admits checks a value against a JSON schema of the keywords that JSONSchema uses; others are an error.
func admits(schema map[string]any, v any) error {
	if want, ok := schema["type"]; ok && want != typeOf(v) { // the other keywords need it
		return fmt.Errorf("%v is no %s", v, want)
	}
	for keyword, want := range schema {
		if err := admit(schema, keyword, want, v); err != nil {
			return fmt.Errorf("%s: %w", keyword, err)
		}
	}
	return nil
}

func admit(schema map[string]any, keyword string, want, v any) error {
	ok := true
	switch keyword {
	case "$schema", "title", "additionalProperties", "type":
	case "enum":
		ok = slices.Contains(want.([]any), v)
	case "anyOf":
		ok = slices.ContainsFunc(want.([]any), func(s any) bool { return admits(s.(map[string]any), v) == nil })
	case "minimum":
		ok = v.(float64) >= want.(float64)
	case "maximum":
		ok = v.(float64) <= want.(float64)
	case "minLength":
		ok = utf8.RuneCountInString(v.(string)) >= int(want.(float64))
	case "maxLength":
		ok = utf8.RuneCountInString(v.(string)) <= int(want.(float64))
	case "minItems":
		ok = len(v.([]any)) >= int(want.(float64))
	case "maxItems":
		ok = len(v.([]any)) <= int(want.(float64))
	case "items":
		for _, item := range v.([]any) {
			if err := admits(want.(map[string]any), item); err != nil {
				return err
			}
		}
	case "required":
		for _, name := range want.([]any) {
			if _, found := v.(map[string]any)[name.(string)]; !found {
				return fmt.Errorf("%s is missing", name)
			}
		}
	case "properties":
		return admitProperties(schema, v.(map[string]any))
	default:
		return errors.New("the test does not know the keyword")
	}
	if !ok {
		return fmt.Errorf("%v does not fit %v", v, want)
	}
	return nil
}

func admitProperties(schema, v map[string]any) error {
	for name, value := range v {
		property, found := schema["properties"].(map[string]any)[name]
		if !found && schema["additionalProperties"] == false {
			return fmt.Errorf("%s is not known", name)
		}
		if err := admits(property.(map[string]any), value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return "string"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	case float64:
		if v == float64(int(v)) {
			return "integer"
		}
	}
	return "number"
}

func decode[T any](raw []byte) (T, error) {
	var v T
	err := json.Unmarshal(raw, &v)
	return v, err
}
