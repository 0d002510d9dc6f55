//! JSON: one object per line, or the objects of one array, of which one at a time is held in memory.

use std::{
    io::{BufRead, ErrorKind},
    sync::Arc,
};

use super::{MAX_LINE_BYTES, Place, Record, Records, lines::Lines};
use crate::error::{DataError, Result};

pub(super) fn lines(name: &str, input: Box<dyn BufRead>) -> Records {
    Lines::new(name, input).records(|line, place| {
        serde_json::from_str(line)
            .map_err(|e| place.fault(format!("no JSON object: {} at column {}", what(&e), e.column())))
    })
}

/// An error of the parser without its place, which counts from where the object begins.
fn what(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

/// The objects of an array, or objects one after the other as some files named `.json` have them.
pub(super) fn array(name: &str, input: Box<dyn BufRead>) -> Records {
    let mut elements = Elements::new(name, input);
    Box::new(std::iter::from_fn(move || elements.next().transpose()))
}

/// Cuts a text into its objects by counting brackets; what is between the brackets is the parser's to judge.
struct Elements {
    file: Arc<str>,
    input: Box<dyn BufRead>,
    line: u64,
    state: State,
    element: Vec<u8>,
}

/// Where in the text the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before anything.
    Start,
    /// In the array, before its first object or, after a comma, before another.
    Before { comma: bool },
    /// In the array, after an object.
    After,
    /// Among objects that no array holds.
    Bare,
    /// After the array's end.
    End,
}

impl Elements {
    fn new(name: &str, input: Box<dyn BufRead>) -> Self {
        Self { file: name.into(), input, line: 1, state: State::Start, element: Vec::new() }
    }

    fn place(&self) -> Place {
        Place::new(self.file.clone(), self.line)
    }

    fn fault(&self, what: impl ToString) -> DataError {
        self.place().fault(what)
    }

    /// The next object with the line on which it begins, or none at the end.
    fn next(&mut self) -> Result<Option<(Place, Record)>> {
        loop {
            let Some(byte) = self.peek()? else {
                return match self.state {
                    State::End | State::Bare => Ok(None),
                    State::Start => Err(self.fault("no JSON: the file is empty")),
                    State::Before { .. } | State::After => {
                        Err(self.fault("the file ends before the `]` of its array"))
                    }
                };
            };
            self.state = match (self.state, byte) {
                (_, b' ' | b'\t' | b'\r' | b'\n') => self.state,
                (State::Start, b'[') => State::Before { comma: false },
                (State::Start | State::Bare, b'{') => return self.object(State::Bare).map(Some),
                (State::Before { .. }, b'{') => return self.object(State::After).map(Some),
                (State::After, b',') => State::Before { comma: true },
                (State::Before { comma: false } | State::After, b']') => State::End,
                (State::End, _) => return Err(self.fault("something follows the end of the array")),
                (State::Start, _) => {
                    return Err(
                        self.fault("neither an array of JSON objects nor objects one after the other")
                    );
                }
                (State::After, _) => return Err(self.fault("expected `,` or `]` after an object")),
                (State::Before { .. } | State::Bare, _) => return Err(self.fault("expected a JSON object")),
            };
            self.skip(byte);
        }
    }

    /// The object that begins here.
    fn object(&mut self, then: State) -> Result<(Place, Record)> {
        let place = self.place();
        self.state = then;
        self.element.clear();
        let (mut depth, mut quoted, mut escaped) = (0u32, false, false);
        while let Some(byte) = self.peek()? {
            self.skip(byte);
            self.element.push(byte);
            if self.element.len() > MAX_LINE_BYTES {
                return Err(place.fault(format!("an object longer than {MAX_LINE_BYTES} bytes")));
            }
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'{' | b'[' if !quoted => depth += 1,
                b'}' | b']' if !quoted => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        // Of an object that does not end, the parser says so.
        let text = std::str::from_utf8(&self.element).map_err(|_| place.fault("not UTF-8"))?;
        let record = serde_json::from_str(text).map_err(|e| {
            let line = place.number + e.line().max(1) as u64 - 1;
            Place::new(self.file.clone(), line).fault(format!("no JSON object: {}", what(&e)))
        })?;
        Ok((place, record))
    }

    fn peek(&mut self) -> Result<Option<u8>> {
        loop {
            match self.input.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let place = Place::new(self.file.clone(), self.line);
                    return Err(place.fault(format!("cannot be read: {error}")));
                }
            }
        }
    }

    fn skip(&mut self, byte: u8) {
        self.input.consume(1);
        self.line += u64::from(byte == b'\n');
    }
}

#[cfg(test)]
mod tests {
    use crate::source::tests::{read_bytes, show};

    #[test]
    fn objects_are_found_however_they_are_written() {
        let cases = [
            ("[]", vec![]),
            (
                " [ {\"a\" : \"}]\\\"{\\\\\" } , {\"b\":[{}, [1]]}]\n ",
                vec![r#"{"a":"}]\"{\\"}"#, r#"{"b":[{},[1]]}"#],
            ),
            ("{\"a\":1}\n{\"a\":\n2}{}", vec![r#"{"a":1}"#, r#"{"a":2}"#, "{}"]),
        ];
        for (text, expected) in cases {
            assert_eq!(show(&read_bytes("a.json", text.as_bytes(), &[]).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn an_object_is_told_by_the_line_on_which_it_begins() {
        let rows = read_bytes("a.json", b"[\n  {\n  \"a\": 1},\n\n {\"a\": 2}]", &[]).unwrap();
        let places: Vec<_> = rows.iter().map(|row| row.place.fault("x").to_string()).collect();
        assert_eq!(places, ["a.json: line 2: x", "a.json: line 5: x"]);
    }

    #[test]
    fn what_is_no_array_of_objects_is_refused_with_its_line() {
        let cases = [
            ("", "line 1: no JSON: the file is empty"),
            ("7", "line 1: neither an array of JSON objects nor objects"),
            ("[{\"a\":1},\n7]", "line 2: expected a JSON object"),
            ("[{\"a\":1},\n]", "line 2: expected a JSON object"),
            ("[{\"a\":1}\n{\"a\":1}]", "line 2: expected `,` or `]`"),
            ("[{\"a\":1},", "line 1: the file ends before the `]`"),
            ("[]\n[]", "line 2: something follows the end"),
            ("[{\"a\":1},\n{\"a\":\n\n}]", "line 4: no JSON object: expected value"),
            ("[{\"a\":1},\n{\"a\":[1}", "line 2: no JSON object: "),
            ("[{\"a\":1},\n{\"a\":\"", "line 2: no JSON object: EOF while parsing a string"),
        ];
        for (text, expected) in cases {
            let message = read_bytes("a.json", text.as_bytes(), &[]).unwrap_err().to_string();
            assert!(message.contains(expected), "{text}: {message}");
            assert!(!message.contains(" at line "), "{message}");
        }
    }
}
