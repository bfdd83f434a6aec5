//! docs/witness.schema.json, and as much of JSON Schema as it uses.
//!
//! A validator of all of JSON Schema would bring some seventy crates into every test build. This one knows a
//! dozen words, and a word of the schema that it does not know is an error.

use serde_json::{Map, Value};

pub struct Schema(Value);

/// Words that say nothing of what is valid.
const PROSE: [&str; 5] = ["$schema", "$id", "$defs", "title", "description"];

impl Schema {
    /// The schema of kn_dump_fragmentation.
    pub fn of_the_witness() -> Schema {
        let text = include_str!("../../docs/witness.schema.json");
        Schema(serde_json::from_str(text).expect("docs/witness.schema.json"))
    }

    /// Whether the value keeps to it; else where it does not.
    pub fn verify(&self, value: &Value) -> Result<(), String> {
        self.one(&self.0, value, "$")
    }

    fn one(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let rules = schema.as_object().ok_or("a schema must be an object")?;
        for (word, rule) in rules {
            if !self.keeps(word, rule, rules, value, at)? {
                return Err(format!("{at}: {value} is against {word}: {rule}"));
            }
        }
        Ok(())
    }

    fn keeps(
        &self,
        word: &str,
        rule: &Value,
        rules: &Map<String, Value>,
        value: &Value,
        at: &str,
    ) -> Result<bool, String> {
        let names = || rule.as_array().into_iter().flatten().filter_map(Value::as_str);
        Ok(match word {
            "type" if rule.is_array() => names().any(|name| is(name, value)),
            "type" => is(rule.as_str().unwrap_or_default(), value),
            "const" => value == rule,
            "enum" => rule.as_array().is_some_and(|all| all.contains(value)),
            "minimum" => value.as_u64() >= rule.as_u64(),
            "maximum" => value.as_u64() <= rule.as_u64(),
            "minItems" => value.as_array().map(|all| all.len() as u64) >= rule.as_u64(),
            "maxItems" => value.as_array().map(|all| all.len() as u64) <= rule.as_u64(),
            "pattern" => match rule.as_str() {
                Some("^0x[0-9a-f]+$") => {
                    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
                    digits.is_some_and(|all| {
                        !all.is_empty() && all.chars().all(|c| c.is_ascii_hexdigit() && !c.is_uppercase())
                    })
                }
                other => return Err(format!("the pattern {other:?} is not known")),
            },
            "required" => names().all(|name| value.get(name).is_some()),
            "additionalProperties" => {
                let known = rules["properties"].as_object().ok_or("properties must be an object")?;
                rule == &Value::Bool(false)
                    && value.as_object().is_some_and(|all| all.keys().all(|key| known.contains_key(key)))
            }
            "properties" => {
                for (name, schema) in rule.as_object().ok_or("properties must be an object")? {
                    if let Some(value) = value.get(name) {
                        self.one(schema, value, &format!("{at}.{name}"))?;
                    }
                }
                true
            }
            "items" => {
                for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                    self.one(rule, value, &format!("{at}[{index}]"))?;
                }
                true
            }
            "$ref" => {
                let path = rule.as_str().and_then(|path| path.strip_prefix('#'));
                let schema = path.and_then(|path| self.0.pointer(path)).ok_or_else(|| format!("no {rule}"))?;
                self.one(schema, value, at)?;
                true
            }
            prose if PROSE.contains(&prose) => true,
            unknown => return Err(format!("the schema's word {unknown} is not known here")),
        })
    }
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "null" => value.is_null(),
        _ => false,
    }
}

#[test]
fn the_schema_refuses() {
    let schema = Schema::of_the_witness();
    let good: Value = serde_json::from_str(
        r#"{"format": "knoll-fragmentation", "version": 1, "heap": "0x20000100", "total": 8, "used": 0, "free": 8,
            "largest_free": 8, "holes": 1, "permille": 1000, "regions": [], "histogram": [],
            "pinned": {"pins": 0, "blocks": 0, "bytes": 0}, "pins": []}"#,
    )
    .expect("JSON");
    assert_eq!(schema.verify(&good), Ok(()));
    for (name, bad) in [
        ("format", Value::from("other")),
        ("version", Value::from(2)),
        ("heap", Value::from("20000100")),
        ("heap", Value::from("0xG")),
        ("total", Value::from(-1)),
        ("permille", Value::from(1001)),
        ("pins", Value::from(vec![1])),
        ("more", Value::Null),
    ] {
        let mut spoiled = good.clone();
        spoiled[name] = bad;
        assert!(schema.verify(&spoiled).is_err(), "{spoiled}");
    }
    for name in good.as_object().expect("an object").keys() {
        let mut short = good.clone();
        short.as_object_mut().expect("an object").remove(name);
        assert!(schema.verify(&short).is_err(), "without {name}");
    }
}
