//! Vectors of texts.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Endpoint, EndpointError, Fault, said};

const PATH: &str = "embeddings";

/// What came back for some texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// One for each text, in the order of the texts, all finite and of one dimension.
    pub vectors: Vec<Vec<f64>>,
    /// The model that the service says it used.
    pub model: Option<String>,
}

impl Endpoint {
    /// One vector for each text. Where the service takes fewer texts at a time, it gets fewer from then on.
    ///
    /// # Errors
    /// When a text, alone, gets no vector.
    pub fn embeddings(&self, texts: &[&str]) -> Result<Embedded, EndpointError> {
        let mut all = Embedded { vectors: Vec::with_capacity(texts.len()), model: None };
        let mut rest = texts;
        while !rest.is_empty() {
            let now = self.most_texts.load(Ordering::Relaxed).clamp(1, rest.len());
            match self.embed_at_once(&rest[..now]) {
                Ok(some) => {
                    let fits = all.vectors.first().is_none_or(|first| first.len() == some.vectors[0].len());
                    if !fits {
                        let fault = uneven(all.vectors[0].len(), some.vectors[0].len());
                        return Err(self.error(PATH, fault, 1));
                    }
                    all.vectors.extend(some.vectors);
                    all.model = some.model;
                    rest = &rest[now..];
                }
                Err(error) if now > 1 && error.fault.may_be_the_size() => {
                    self.most_texts.fetch_min(now / 2, Ordering::Relaxed);
                }
                Err(error) => return Err(self.about_the_text(error, rest[0])),
            }
        }
        Ok(all)
    }

    fn embed_at_once(&self, texts: &[&str]) -> Result<Embedded, EndpointError> {
        #[derive(Serialize)]
        struct Request<'a> {
            model: &'a str,
            input: &'a [&'a str],
        }
        let request = Request { model: self.model(), input: texts };
        let embedded = self.call(PATH, &request, |url, body| {
            self.transport.post(url, body).and_then(|answer| self.read_embeddings(&answer, texts.len()))
        })?;
        self.has_answered.store(true, Ordering::Relaxed);
        Ok(embedded)
    }

    /// What a service answered when it was sent so many texts.
    ///
    /// # Errors
    /// When that is not as many vectors.
    pub fn read_embeddings(&self, answer: &[u8], expected: usize) -> Result<Embedded, Fault> {
        let (data, model) = match serde_json::from_slice(answer) {
            Ok(Answer { error: None | Some(Value::Null), data: Some(data), model }) => (data, model),
            Ok(Answer { error, data: None, .. }) if error.is_none() => {
                return Err(self.no_answer(answer, "it holds no `data`"));
            }
            Ok(_) => return Err(self.no_answer(answer, "it is an error")),
            Err(cause) => return Err(self.no_answer(answer, &said::unreadable(answer, &cause))),
        };
        let vectors = in_order(data, expected)?;
        Ok(Embedded { vectors, model: model.as_ref().and_then(Value::as_str).map(str::to_owned) })
    }

    /// A service that has taken other texts refuses this one for what it is.
    fn about_the_text(&self, error: EndpointError, text: &str) -> EndpointError {
        let fault = match *error.fault {
            Fault::Refused { status: status @ (400 | 413 | 422), said, .. }
                if status == 413 || self.has_answered.load(Ordering::Relaxed) =>
            {
                let start: String = text.chars().take(40).collect();
                let length = text.chars().count();
                let remedy = format!(
                    "It is about the text of {length} characters that begins {start:?}: shorten it, or use a service that takes it"
                );
                Fault::Refused { status, said, remedy }
            }
            other => other,
        };
        EndpointError { fault: fault.into(), ..error }
    }
}

#[derive(Deserialize)]
struct Answer {
    error: Option<Value>,
    data: Option<Vec<Item>>,
    model: Option<Value>,
}

#[derive(Deserialize)]
struct Item {
    index: Option<Value>,
    embedding: Option<Vec<f64>>,
}

/// Vectors by their `index`, which need not be the order of the list. A service that numbers none of them
/// answers in the order of the texts.
fn in_order(data: Vec<Item>, expected: usize) -> Result<Vec<Vec<f64>>, Fault> {
    let wrong = |why: String| Err(Fault::protocol(why));
    if data.len() != expected {
        return wrong(format!("{} vectors for {expected} texts", data.len()));
    }
    let numbered = data.iter().filter(|item| item.index.as_ref().is_some_and(|i| !i.is_null())).count();
    if numbered != 0 && numbered != expected {
        return wrong(format!("{numbered} of {expected} vectors have an index, so their order is not known"));
    }
    let mut ordered: Vec<Vec<f64>> = vec![Vec::new(); expected];
    let mut dimension = None;
    for (position, item) in data.into_iter().enumerate() {
        let place = match item.index.filter(|_| numbered > 0) {
            None => position,
            Some(index) => match place(&index) {
                Some(place) => place,
                None => return wrong(format!("index {index} is no number")),
            },
        };
        let vector = item.embedding.unwrap_or_default();
        if vector.is_empty() {
            return wrong(format!("vector {place} is empty"));
        }
        let dimension = *dimension.get_or_insert(vector.len());
        if vector.len() != dimension {
            return Err(uneven(dimension, vector.len()));
        }
        if !vector.iter().all(|v| v.is_finite()) {
            return wrong(format!("vector {place} holds a number that is not finite"));
        }
        match ordered.get_mut(place) {
            Some(free) if free.is_empty() => *free = vector,
            Some(_) => return wrong(format!("two vectors have index {place}")),
            None => return wrong(format!("index {place} for {expected} texts")),
        }
    }
    Ok(ordered)
}

/// No setting mends a service that gives vectors of several lengths.
fn uneven(one: usize, other: usize) -> Fault {
    Fault::protocol(format!("it gives vectors of {one} and of {other} numbers"))
}

/// An index, also where it is written as text or as 3.0.
fn place(index: &Value) -> Option<usize> {
    let number = match index {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    (number >= 0.0 && number.fract() == 0.0 && number < 1e9).then_some(number as usize)
}

#[cfg(test)]
mod tests {
    use super::super::server::{Step::*, endpoint, fault, server};
    use super::*;

    const GOOD: &str = r#"{"data":[{"index":0,"embedding":[1,0.5]},{"index":1,"embedding":[0,-2e-1]}]}"#;

    fn embed(answer: &'static str) -> Result<Vec<Vec<f64>>, EndpointError> {
        endpoint(&server(vec![Answer(200, answer)]).0).embeddings(&["a", "b"]).map(|all| all.vectors)
    }

    fn good() -> Vec<Vec<f64>> {
        vec![vec![1.0, 0.5], vec![0.0, -0.2]]
    }

    #[test]
    fn vectors_come_in_the_order_of_the_texts() {
        assert_eq!(embed(GOOD).unwrap(), good());
        for shuffled in [
            r#"{"data":[{"index":1,"embedding":[0,-0.2]},{"index":0,"embedding":[1,0.5]}]}"#,
            r#"{"data":[{"index":"1","embedding":[0,-0.2]},{"index":0.0,"embedding":[1,0.5]}]}"#,
        ] {
            assert_eq!(embed(shuffled).unwrap(), good(), "{shuffled}");
        }
    }

    #[test]
    fn vectors_without_index_are_in_order_and_half_of_them_are_not() {
        assert_eq!(embed(r#"{"data":[{"embedding":[1,0.5]},{"embedding":[0,-0.2]}]}"#).unwrap(), good());
        let null = r#"{"error":null,"data":[{"index":null,"embedding":[1,0.5]},{"index":null,"embedding":[0,-0.2]}]}"#;
        assert_eq!(embed(null).unwrap(), good());
        let half = r#"{"data":[{"index":0,"embedding":[1,0.5]},{"embedding":[0,-0.2]}]}"#;
        let error = embed(half).unwrap_err().to_string();
        assert!(error.contains("1 of 2 vectors have an index"), "{error}");
    }

    #[test]
    fn the_request_holds_model_and_texts_and_the_answer_may_name_its_model() {
        let named = r#"{"model":"m-2","data":[{"embedding":[1]},{"embedding":[2]}]}"#;
        let (base, requests) = server(vec![Answer(200, named)]);
        let embedded = endpoint(&base).embeddings(&["a", "b"]).unwrap();
        assert_eq!(embedded.model.as_deref(), Some("m-2"));
        let request = requests.recv().unwrap();
        assert!(request.head.starts_with("POST /v1/embeddings "));
        assert_eq!(request.body, serde_json::json!({"model": "a-model", "input": ["a", "b"]}));
    }

    #[test]
    fn wrong_answers_are_refused_with_what_they_say() {
        for (wrong, said) in [
            ("<html>hello</html>", "a web page: hello"),
            ("{}", "{}"),
            ("null", "(it is no object): \"null\""),
            ("[[1,2],[3,4]]", "(it is no object)"),
            ("", "(it is empty)."),
            (r#"{"data":[{"index":0,"embedding":[1]}]}"#, "1 vectors for 2 texts"),
            (
                r#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}"#,
                "two vectors have index 0",
            ),
            (r#"{"data":[{"index":0,"embedding":[1]},{"index":2,"embedding":[1]}]}"#, "index 2 for 2 texts"),
            (r#"{"data":[{"index":0,"embedding":[1]},{"index":-1,"embedding":[1]}]}"#, "index -1"),
            (r#"{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[]}]}"#, "vector 1 is empty"),
            (r#"{"data":[{"index":0,"embedding":[1]},{"index":1}]}"#, "vector 1 is empty"),
            (r#"{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[null]}]}"#, "null"),
            (r#"{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[NaN]}]}"#, "NaN"),
            (
                r#"{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[1e999]}]}"#,
                "number out of range",
            ),
        ] {
            let error = embed(wrong).unwrap_err();
            assert!(
                matches!(*error.fault, Fault::Protocol { .. }) && error.attempts == 1,
                "{wrong}: {error:?}"
            );
            assert!(error.to_string().contains(said), "{wrong}: {error}");
        }
    }

    #[test]
    fn vectors_of_unequal_dimension_are_refused() {
        let uneven = r#"{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[1,2]}]}"#;
        let error = embed(uneven).unwrap_err();
        assert!(error.to_string().contains("(it gives vectors of 1 and of 2 numbers)"), "{error}");
    }

    #[test]
    fn no_texts_need_no_call() {
        assert!(endpoint("http://127.0.0.1:9/v1").embeddings(&[]).unwrap().vectors.is_empty());
    }

    #[test]
    fn a_batch_that_is_too_large_is_split_and_the_next_ones_are_small_at_once() {
        const ONE: &str = r#"{"data":[{"embedding":[1]}]}"#;
        const TWO: &str = r#"{"data":[{"embedding":[1]},{"embedding":[2]}]}"#;
        for status in [400, 413, 422] {
            let no = || Answer(status, r#"{"error": "at most 2 inputs are taken"}"#);
            let steps = vec![no(), Answer(200, TWO), Answer(200, TWO), Answer(200, ONE), Answer(200, TWO)];
            let (base, requests) = server(steps);
            let endpoint = endpoint(&base);
            let vectors = endpoint.embeddings(&["a", "b", "c", "d", "e"]).unwrap().vectors;
            assert_eq!(vectors.concat(), [1.0, 2.0, 1.0, 2.0, 1.0]);
            endpoint.embeddings(&["f", "g"]).unwrap();
            drop(endpoint);
            let sizes: Vec<usize> =
                requests.iter().map(|request| request.body["input"].as_array().unwrap().len()).collect();
            assert_eq!(sizes, [5, 2, 2, 1, 2], "{status}");
        }
    }

    #[test]
    fn what_is_refused_for_one_text_is_told_with_the_service_s_words_and_the_text() {
        const ONE: &str = r#"{"data":[{"embedding":[1]}]}"#;
        let no = || Answer(413, r#"{"error": "input is longer than 512 tokens"}"#);
        let (base, _requests) = server(vec![no(), Answer(200, ONE), no()]);
        let error = endpoint(&base).embeddings(&["a", "long text"]).unwrap_err().to_string();
        assert!(error.contains("\"input is longer than 512 tokens\""), "{error}");
        assert!(error.contains("the text of 9 characters that begins \"long text\""), "{error}");
    }

    #[test]
    fn a_refusal_for_another_cause_is_told_as_it_is() {
        let no = || Answer(400, r#"{"error": {"message": "no model a-model"}}"#);
        let error = endpoint(&server(vec![no(), no()]).0).embeddings(&["a", "b"]).unwrap_err().to_string();
        assert!(error.ends_with(": \"no model a-model\". Check the address and the model's name"), "{error}");
    }

    #[test]
    fn an_error_under_status_200_is_treated_as_its_status() {
        let busy = r#"{"error": {"message": "free tier: ten calls a minute", "code": 429}}"#;
        let error = fault(vec![Answer(200, busy), Answer(200, busy), Answer(200, busy)]);
        let said = "free tier: ten calls a minute".to_owned();
        assert_eq!(error, Fault::Busy { status: 429, said, wait: None });
        let fine = fault(vec![Answer(200, r#"{"error": {"message": "not today"}, "data": []}"#)]);
        assert_eq!(fine, Fault::refused(200, "not today".into()));
    }
}
