"""Validates TOML files against a JSON Schema, as an editor would: by draft 7, which editors of TOML speak, and by 2020-12.

    schema_check.py SCHEMA FILE...

Prints a JSON object: for each file the first words against it, or null; "not TOML: …" where it cannot be read at all.
"""

import json
import sys
import tomllib

import jsonschema


def first_word(validators, path):
    try:
        with open(path, "rb") as file:
            told = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return f"not TOML: {error}"
    words = []
    for validator in validators:
        error = jsonschema.exceptions.best_match(validator.iter_errors(told))
        words.append(error and f"{error.json_path}: {error.message}"[:300])
    if (words[0] is None) != (words[1] is None):
        return f"the drafts do not agree: {words}"
    return words[0]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        schema = json.load(file)
    validators = []
    for draft in (jsonschema.Draft7Validator, jsonschema.Draft202012Validator):
        draft.check_schema(schema)
        validators.append(draft(schema))
    print(json.dumps({path: first_word(validators, path) for path in sys.argv[2:]}))


main()
