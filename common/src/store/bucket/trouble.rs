//! What a bucket's server says, in words that say what to do.

use std::error::Error;

use super::http::Unanswered;

/// Why a bucket's server did not do what it was asked for. What may pass was tried several times.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Nothing lies there.
    #[error("it is not in the bucket")]
    Absent,
    /// The bucket itself is not there.
    #[error(
        "there is no such bucket on this server: make it, or check its name, AWS_REGION and AWS_ENDPOINT_URL"
    )]
    NoBucket,
    /// Wrong credentials, or such as may not do this.
    #[error(
        "the server refuses these credentials ({0}): check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, and that they may list, read, write and delete here"
    )]
    Refused(String),
    /// Of two commits both could win.
    #[error(
        "the server has no conditional put (If-None-Match), so it could not tell which of two commits is first: use one that has, or a folder"
    )]
    Unconditional,
    /// The server, or the network on the way.
    #[error(
        "no answer after several tries ({0}): check AWS_ENDPOINT_URL and the network, then run it again; what is there stays"
    )]
    Unanswered(String),
    /// The server has more than a bad moment, or is asked for too much.
    #[error(
        "the server failed at every try ({0}): run it again later, or with fewer workers at once; what is there stays"
    )]
    Failing(String),
    /// Anything else.
    #[error(
        "the server does not take the request ({0}): check AWS_ENDPOINT_URL, AWS_REGION and the bucket's rules"
    )]
    Other(String),
}

impl Trouble {
    /// What an error of the client means.
    pub(in crate::store) fn of(error: &object_store::Error) -> Self {
        use object_store::Error::{NotFound, NotImplemented, PermissionDenied, Unauthenticated};
        let said = Said::of(error);
        match (error, said.code.as_deref()) {
            (_, Some("NoSuchBucket")) => Self::NoBucket,
            (NotFound { .. }, _) => Self::Absent,
            (PermissionDenied { .. } | Unauthenticated { .. }, _) => Self::Refused(said.short()),
            (NotImplemented { .. }, _) | (_, Some("NotImplemented")) => Self::Unconditional,
            _ => match (unanswered(error), said.status) {
                (Some(reason), _) => Self::Unanswered(reason),
                (None, Some(401 | 403)) => Self::Refused(said.short()),
                (None, Some(501)) => Self::Unconditional,
                (None, Some(429 | 408 | 500..)) => Self::Failing(said.short()),
                _ => Self::Other(said.short()),
            },
        }
    }
}

/// What is in the text of an error: the client gives neither status nor code.
struct Said {
    status: Option<u16>,
    code: Option<String>,
    /// The text itself, in a line.
    text: String,
}

impl Said {
    fn of(error: &object_store::Error) -> Self {
        let text = error.to_string();
        let status = after(&text, "status code: ").and_then(|rest| rest.get(..3)?.parse().ok());
        let code = after(&text, "<Code>").and_then(|rest| Some(rest.split_once("</Code>")?.0.to_owned()));
        let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect();
        Self { status, code, text }
    }

    fn short(&self) -> String {
        match (self.status, &self.code) {
            (Some(status), Some(code)) => format!("{status} {code}"),
            (Some(status), None) => format!("status {status}"),
            (None, _) => self.text.clone(),
        }
    }
}

fn after<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    text.split_once(mark).map(|(_, rest)| rest)
}

/// What stands at the bottom of an error where a request was not answered.
fn unanswered(error: &(dyn Error + 'static)) -> Option<String> {
    match error.downcast_ref::<Unanswered>() {
        Some(found) => Some(found.to_string()),
        None => unanswered(error.source()?),
    }
}

#[cfg(test)]
mod tests {
    use object_store::Error::{AlreadyExists, Generic, NotFound, PermissionDenied};

    use super::*;

    fn source(status: &str, code: &str) -> Box<dyn Error + Send + Sync> {
        let text = format!(
            "Server returned non-2xx status code: {status} Odd: <Error>\n<Code>{code}</Code>\n</Error>"
        );
        text.into()
    }

    #[test]
    fn what_a_server_says_is_told_in_a_line_with_the_way_out() {
        let path = || "x".to_owned();
        for (error, expected, remedy) in [
            (NotFound { path: path(), source: source("404", "NoSuchKey") }, Trouble::Absent, ""),
            (NotFound { path: path(), source: source("404", "NoSuchBucket") }, Trouble::NoBucket, "make it"),
            (
                PermissionDenied { path: path(), source: source("403", "InvalidAccessKeyId") },
                Trouble::Refused("403 InvalidAccessKeyId".to_owned()),
                "AWS_SECRET_ACCESS_KEY",
            ),
            (
                Generic { store: "S3", source: source("503", "SlowDown") },
                Trouble::Failing("503 SlowDown".to_owned()),
                "later",
            ),
            (
                Generic { store: "S3", source: source("501", "NotImplemented") },
                Trouble::Unconditional,
                "use one",
            ),
            (
                AlreadyExists { path: path(), source: source("409", "OperationAborted") },
                Trouble::Other("409 OperationAborted".to_owned()),
                "AWS_REGION",
            ),
        ] {
            let trouble = Trouble::of(&error);
            assert_eq!(trouble, expected, "{error}");
            let told = trouble.to_string();
            assert!(told.contains(remedy) && !told.contains('\n'), "{told}");
        }
    }
}
