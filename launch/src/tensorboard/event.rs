//! Event files: the messages of TensorBoard's `event.proto` and `summary.proto` that a scalar needs.

use prost::Message as _;

use super::record;

/// What the first record says, before which nothing is read.
const VERSION: &str = "brain.Event:2";

#[derive(Clone, PartialEq, prost::Message)]
struct Event {
    /// Seconds since the beginning of 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    // Within a oneof of the original, where a zero is written too.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// The numbers of one step, by their tags.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) step: u64,
    pub(super) scalars: Vec<(&'static str, f64)>,
}

/// The bytes of an event file whose numbers were all known at `wall_time`, in seconds since the beginning of 1970.
pub(super) fn file(wall_time: f64, steps: &[Step]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut add = |step: u64, what: What| {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        record::add(&mut file, &Event { wall_time, step, what: Some(what) }.encode_to_vec());
    };
    add(0, What::FileVersion(VERSION.to_owned()));
    for Step { step, scalars } in steps {
        let value = |(tag, number): &(&str, f64)| Value {
            tag: (*tag).to_owned(),
            simple_value: Some(*number as f32),
        };
        add(*step, What::Summary(Summary { value: scalars.iter().map(value).collect() }));
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_begins_with_its_version_and_has_a_record_for_each_step() {
        let steps = [Step { step: 7, scalars: vec![("loss", 0.5), ("learning_rate", 0.0)] }];
        let bytes = file(1.5, &steps);
        let mut rest = &bytes[..];
        let mut events = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            events.push(Event::decode(&rest[12..12 + length]).unwrap());
            rest = &rest[16 + length..];
        }
        let value = |tag: &str, number: f32| Value { tag: tag.to_owned(), simple_value: Some(number) };
        let summary = Summary { value: vec![value("loss", 0.5), value("learning_rate", 0.0)] };
        assert_eq!(
            events,
            [
                Event { wall_time: 1.5, step: 0, what: Some(What::FileVersion(VERSION.into())) },
                Event { wall_time: 1.5, step: 7, what: Some(What::Summary(summary)) },
            ]
        );
    }
}
