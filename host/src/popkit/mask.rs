//! Secrets in what is repeated from deploy.json. They should be references; a literal that stands there all the same is
//! blotted out.

use pop_deploy_plugin_api::redact::BLOT;
use serde_json::{Map, Value};

/// Words in a key that make its value a secret.
const SECRET_WORDS: [&str; 12] = [
    "secret",
    "secrets",
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "token",
    "tokens",
    "credential",
    "credentials",
    "apikey",
    "pwd",
];

/// What makes a `key` a secret when it stands before it: `api_key`, not `public_key` or `cache_key`.
const SECRET_KEYS: [&str; 7] = ["api", "private", "access", "secret", "auth", "encryption", "signing"];

/// The value with every literal secret blotted out: strings and numbers under keys that look like one, and passwords
/// in URLs. References stay.
pub fn masked(value: &Value) -> Value {
    match value {
        Value::Object(object) => Value::Object(
            object.iter().map(|(key, value)| (key.clone(), masked_member(key, value))).collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(masked).collect()),
        Value::String(text) => Value::String(without_password(text)),
        _ => value.clone(),
    }
}

fn masked_member(key: &str, value: &Value) -> Value {
    if names_a_secret(key) { blotted(value) } else { masked(value) }
}

fn blotted(value: &Value) -> Value {
    match value {
        Value::Object(object) if is_reference(object) => value.clone(),
        Value::Object(object) => {
            Value::Object(object.iter().map(|(key, value)| (key.clone(), blotted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(blotted).collect()),
        Value::String(_) | Value::Number(_) => BLOT.into(),
        Value::Null | Value::Bool(_) => value.clone(),
    }
}

/// `{"env": "X"}`, `{"file": "…"}` or `{"command": […]}`: it says where the secret is, not what.
fn is_reference(object: &Map<String, Value>) -> bool {
    let mut members = object.iter();
    matches!(
        (members.next().map(|(key, value)| (key.as_str(), value)), members.next()),
        (Some(("env" | "file", Value::String(_)) | ("command", Value::Array(_))), None)
    )
}

fn names_a_secret(key: &str) -> bool {
    let words = words(key);
    let is_word = |word: &String| SECRET_WORDS.contains(&word.as_str());
    let is_key = |pair: &[String]| pair[1] == "key" && SECRET_KEYS.contains(&pair[0].as_str());
    words.iter().any(is_word) || words.windows(2).any(is_key) || words == ["key"]
}

/// `registryPassword`, `registry-password` and `REGISTRY_PASSWORD` are `registry`, `password`.
fn words(key: &str) -> Vec<String> {
    let mut spaced = String::new();
    let mut was_lower = false;
    for c in key.chars() {
        if c.is_uppercase() && was_lower {
            spaced.push(' ');
        }
        was_lower = c.is_lowercase();
        spaced.extend(if c.is_alphanumeric() { c.to_lowercase().collect() } else { vec![' '] });
    }
    spaced.split_whitespace().map(str::to_owned).collect()
}

/// `https://user:***@host/` for every URL with a password in it.
fn without_password(text: &str) -> String {
    let mut parts = text.split("://");
    let before = parts.next().unwrap_or_default().to_owned();
    parts.fold(before, |text, part| {
        let authority = part.split(['/', '?', '#', ' ']).next().unwrap_or_default();
        match authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')) {
            Some((user, password)) => {
                format!("{text}://{user}:{BLOT}{}", &part[user.len() + 1 + password.len()..])
            }
            None => format!("{text}://{part}"),
        }
    })
}
