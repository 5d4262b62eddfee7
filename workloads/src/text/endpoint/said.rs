//! What a service says where it does not give what was asked for: the one thing that helps its user.

use serde_json::Value;

/// What a mark of the order of bytes is in UTF-8: some servers put it before what they say.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What is said without such a mark.
pub fn unmarked(body: &[u8]) -> &[u8] {
    body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body)
}

/// Why an answer cannot be read, in few words.
pub fn unreadable(answer: &[u8], cause: &serde_json::Error) -> String {
    match answer.trim_ascii() {
        [] => "it is empty".to_owned(),
        [first, ..] if cause.is_data() && *first != b'{' => "it is no object".to_owned(),
        // The cause may repeat a long text.
        _ => one_line(&cause.to_string()),
    }
}

/// Longer texts are cut.
const LONGEST: usize = 300;
/// Of an answer no more is looked at.
const LOOKED_AT: usize = 64 * 1024;

/// A service's own words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    /// On one line.
    pub text: String,
    /// A status that is written in the text, not in the head of the answer.
    pub status: Option<u16>,
    /// What the service calls the error: its types and codes.
    pub kinds: Vec<String>,
}

impl Said {
    /// Reads JSON in the shapes that services use, a web page, or plain text.
    pub fn of(body: &[u8]) -> Self {
        let mut said = Self::default();
        let body = unmarked(body);
        let text = match serde_json::from_slice::<Value>(body) {
            Ok(value) => {
                said.note(&value);
                let text = message(&value).unwrap_or_else(|| value.to_string());
                match parameter(&value).filter(|name| !text.contains(name)) {
                    Some(name) => format!("{text} ({name})"),
                    None => text,
                }
            }
            Err(_) => String::from_utf8_lossy(&body[..body.len().min(LOOKED_AT)]).into_owned(),
        };
        said.text = match text.trim_start().starts_with('<') {
            true => one_line(&format!("a web page: {}", without_tags(&text))),
            false => one_line(&text),
        };
        said
    }

    /// Whether an object that came with status 200 is an error.
    pub fn is_error(value: &Value) -> bool {
        value.get("error").is_some_and(|error| !error.is_null())
    }

    /// Whether there is nothing left to use, as against too much at a time.
    pub fn is_about_quota(&self) -> bool {
        let text = self.text.to_lowercase();
        let is_used_up = |text: &str| {
            let words = ["quota", "quotas", "credit", "credits", "billing", "balance", "payment"];
            text.split(|c: char| !c.is_alphanumeric()).any(|word| words.contains(&word))
        };
        let per_time = ["per second", "per minute", "a minute", "per hour", "per day", "rpm", "tpm"];
        self.kinds.iter().any(|kind| is_used_up(&kind.to_lowercase()))
            || (is_used_up(&text) && !per_time.iter().any(|rate| text.contains(rate)))
    }

    /// Codes, types and names in an error object, at its top or one level below.
    fn note(&mut self, value: &Value) {
        for object in [Some(value), value.get("error")].into_iter().flatten() {
            for key in ["code", "type", "status", "error_code"] {
                match object.get(key) {
                    Some(Value::Number(number)) => {
                        let status = number.as_u64().filter(|n| (400..600).contains(n));
                        self.status = status.map(|n| n as u16).or(self.status);
                    }
                    Some(Value::String(kind)) => match kind.parse() {
                        Ok(status @ 400..600) => self.status = Some(status),
                        _ => self.kinds.push(kind.clone()),
                    },
                    _ => {}
                }
            }
        }
    }
}

/// The parameter that an error names beside its sentence.
fn parameter(value: &Value) -> Option<&str> {
    value.get("error").unwrap_or(value).get("param")?.as_str()
}

/// The sentence in an error, wherever it stands.
fn message(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.trim().is_empty()),
        Value::Array(list) => {
            let texts: Vec<String> = list.iter().filter_map(message).collect();
            (!texts.is_empty()).then(|| texts.join("; "))
        }
        Value::Object(fields) => {
            let keys = ["error", "message", "detail", "msg", "errors", "error_message", "error_description"];
            let text = keys.iter().find_map(|key| message(fields.get(*key)?))?;
            // Validation errors say separately which field they mean.
            match fields.get("loc").and_then(Value::as_array) {
                Some(place) => Some(format!("{}: {text}", path(place))),
                None => Some(text),
            }
        }
        _ => None,
    }
}

fn path(place: &[Value]) -> String {
    let parts = place.iter().map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned));
    parts.collect::<Vec<_>>().join(".")
}

/// The text of a web page.
fn without_tags(page: &str) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        text.push_str(&rest[..start]);
        text.push(' ');
        rest = &rest[start..];
        // What scripts and styles hold is nothing to read.
        let hidden = ["script", "style"]
            .into_iter()
            .find(|tag| rest.get(1..=tag.len()).is_some_and(|name| name.eq_ignore_ascii_case(tag)));
        let end = match hidden {
            Some(tag) => {
                let lower = rest.to_ascii_lowercase();
                lower.find(&format!("</{tag}")).and_then(|at| Some(at + lower[at..].find('>')? + 1))
            }
            None => rest.find('>').map(|at| at + 1),
        };
        rest = end.map_or("", |end| &rest[end..]);
    }
    text.push_str(rest);
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&nbsp;", " "), ("&amp;", "&")]
        .into_iter()
        .fold(text, |text, (entity, character)| text.replace(entity, character))
}

fn one_line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(body: &str) -> String {
        Said::of(body.as_bytes()).text
    }

    #[test]
    fn the_sentence_is_found_in_every_shape_of_error() {
        for body in [
            r#"{"error": {"message": "no such model", "type": "invalid_request_error", "code": null}}"#,
            r#"{"error": "no such model"}"#,
            r#"{"error": ["no such model"]}"#,
            r#"{"errors": [{"message": "no such model"}]}"#,
            r#"{"detail": "no such model"}"#,
            r#"{"object": "error", "message": "no such model", "code": 404}"#,
            r#"[{"error": {"code": 400, "message": "no such model", "status": "INVALID_ARGUMENT"}}]"#,
            r#""<p>no such</p> model""#,
            r#""no such model""#,
            "  no such\n model ",
        ] {
            assert_eq!(text(body).trim_start_matches("a web page: "), "no such model", "{body}");
        }
    }

    #[test]
    fn a_validation_error_names_its_field() {
        let body = r#"{"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"},
            {"loc": ["body", "input", 3], "msg": "too long"}]}"#;
        assert_eq!(text(body), "body.seed: Extra inputs are not permitted; body.input.3: too long");
    }

    #[test]
    fn a_parameter_that_only_a_field_names_is_told() {
        let body = r#"{"error": {"message": "Unsupported value", "param": "temperature"}}"#;
        assert_eq!(text(body), "Unsupported value (temperature)");
    }

    #[test]
    fn of_a_web_page_the_text_is_told() {
        let page = "<!DOCTYPE html><html><head><title>502</title><style>p {}</style>\
            <SCRIPT>if (a > b) {}</SCRIPT></head><body><p>Bad&nbsp;gateway &amp; more</p></body></html>";
        assert_eq!(text(page), "a web page: 502 Bad gateway & more");
        assert_eq!(text("<html><script>never closed"), "a web page:");
    }

    #[test]
    fn an_object_without_a_sentence_is_shown_as_it_is() {
        assert_eq!(text(r#"{"weather": "fine"}"#), r#"{"weather":"fine"}"#);
        assert_eq!(text(""), "");
    }

    #[test]
    fn a_mark_of_the_order_of_bytes_is_no_part_of_what_is_said() {
        assert_eq!(text("\u{feff}{\"error\": \"no such model\"}"), "no such model");
    }

    #[test]
    fn why_an_answer_cannot_be_read_is_short() {
        let long = format!(r#"{{"a": "{}"}}"#, "x".repeat(5_000));
        let cause = serde_json::from_str::<std::collections::BTreeMap<String, u8>>(&long).unwrap_err();
        assert!(cause.to_string().len() > 5_000 && unreadable(long.as_bytes(), &cause).len() <= LONGEST + 3);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let shown = text(&"ü".repeat(1_000));
        assert_eq!(shown.chars().count(), LONGEST + 1);
        assert!(shown.ends_with('…'));
    }

    #[test]
    fn a_status_may_stand_in_the_text() {
        for body in [r#"{"error": {"message": "m", "code": 429}}"#, r#"{"error": "m", "status": "429"}"#] {
            assert_eq!(Said::of(body.as_bytes()).status, Some(429), "{body}");
        }
        assert_eq!(Said::of(br#"{"error": {"message": "m", "code": 7}}"#).status, None);
    }

    #[test]
    fn a_used_up_account_is_no_rate_that_is_too_high() {
        let quota = |body: &str| Said::of(body.as_bytes()).is_about_quota();
        for body in [
            r#"{"error": {"message": "no more", "type": "insufficient_quota"}}"#,
            r#"{"error": {"message": "You exceeded your current quota, check your plan and billing"}}"#,
            "Your credit balance is too low",
        ] {
            assert!(quota(body), "{body}");
        }
        for body in [
            r#"{"error": {"message": "Rate limit reached: 3 requests per minute", "type": "requests"}}"#,
            r#"{"error": {"message": "Quota exceeded for requests per minute"}}"#,
            "slow down",
            "the load balancer is full",
        ] {
            assert!(!quota(body), "{body}");
        }
    }
}
