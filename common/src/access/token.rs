//! The word by which the processes of one run know each other, and who asks for it.

use std::{fmt, path::Path};

use tonic::{Request, Status, metadata::MetadataValue, service::Interceptor};

use super::private::{self, PrivateError};

/// The file in a run's folder that only its owner reads.
pub const TOKEN_FILE: &str = "token";

/// The variable that stands in for it, where processes share no folder.
pub const TOKEN_VARIABLE: &str = "FULCRUM_TOKEN";

/// Fewest and most characters.
const LENGTH: std::ops::RangeInclusive<usize> = 32..=256;

/// Bytes of chance in a token that is made here.
const BYTES: usize = 32;

const HEADER: &str = "authorization";

/// A secret that all processes of a run share. It is in no command line and in no message.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// A token cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// What stands there is none.
    #[error("{place} holds no token: it takes {} to {} letters, digits and signs without spaces", LENGTH.start(), LENGTH.end())]
    Form {
        /// Where.
        place: String,
    },
    /// Nothing says what it is.
    #[error(
        "no token: set {TOKEN_VARIABLE} to that of the run, which lies in its folder, or name the folder"
    )]
    Untold,
    /// The system has no chance to give.
    #[error("no token can be made: {0}")]
    Chance(String),
    /// Its file.
    #[error(transparent)]
    File(#[from] PrivateError),
}

impl Token {
    /// Checks a token that was found at `place`.
    ///
    /// # Errors
    /// If it is too short to be safe, or cannot be sent.
    pub fn parse(text: &str, place: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        match LENGTH.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(Self(text.to_owned())),
            false => Err(TokenError::Form { place: place.to_owned() }),
        }
    }

    /// The token of the run in `folder`: that of [`TOKEN_VARIABLE`], else that of the folder's file.
    ///
    /// # Errors
    /// If there is none, or others can read it.
    pub fn find(folder: &Path) -> Result<Self, TokenError> {
        match Self::told()? {
            Some(token) => Ok(token),
            None => Self::read(&folder.join(TOKEN_FILE)),
        }
    }

    /// That of [`TOKEN_VARIABLE`], where it is set.
    ///
    /// # Errors
    /// If it holds none.
    pub fn told() -> Result<Option<Self>, TokenError> {
        let place = || format!("the variable {TOKEN_VARIABLE}");
        let text = std::env::var_os(TOKEN_VARIABLE).filter(|text| !text.is_empty());
        let parse = |text: std::ffi::OsString| Self::parse(&text.to_string_lossy(), &place());
        text.map(parse).transpose()
    }

    /// [`Token::find`] for whoever gives a run its token: where there is none yet, one is made.
    ///
    /// # Errors
    /// If the folder cannot be written, or others can read what is there.
    pub fn keep(folder: &Path) -> Result<Self, TokenError> {
        let path = folder.join(TOKEN_FILE);
        match Self::find(folder) {
            Err(TokenError::File(error)) if error.is_absence() => {
                let token = Self::new()?;
                private::write(&path, &format!("{}\n", token.0))?;
                Ok(token)
            }
            found => found,
        }
    }

    /// One that nobody can guess.
    ///
    /// # Errors
    /// If the system has no chance to give.
    pub fn new() -> Result<Self, TokenError> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes).map_err(|error| TokenError::Chance(error.to_string()))?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// What it is, for whoever hands it on.
    pub fn secret(&self) -> &str {
        &self.0
    }

    fn read(path: &Path) -> Result<Self, TokenError> {
        Self::parse(&private::read(path, *LENGTH.end() as u64 + 2)?, &format!("{path:?}"))
    }

    /// What a caller shows.
    fn shown(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Compares digests, whose comparison takes as long for every wrong token.
    fn is(&self, shown: &[u8]) -> bool {
        blake3::hash(self.shown().as_bytes()) == blake3::hash(shown)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// A client's end: shows the token with every request.
#[derive(Clone, Debug)]
pub struct Introduction(Token);

impl Introduction {
    /// By this token.
    pub fn new(token: Token) -> Self {
        Self(token)
    }
}

impl Interceptor for Introduction {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let mut shown: MetadataValue<_> =
            self.0.shown().parse().map_err(|_| Status::internal("the token cannot be sent"))?;
        shown.set_sensitive(true);
        request.metadata_mut().insert(HEADER, shown);
        Ok(request)
    }
}

/// A server's end: lets nobody in who does not know the token.
#[derive(Clone, Debug)]
pub struct Doorkeeper(Token);

impl Doorkeeper {
    /// Of a run with this token.
    pub fn new(token: Token) -> Self {
        Self(token)
    }
}

impl Interceptor for Doorkeeper {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let shown = request.metadata().get(HEADER).map(MetadataValue::as_bytes);
        match shown {
            Some(shown) if self.0.is(shown) => Ok(request),
            Some(_) => Err(Status::unauthenticated("this is not the token of the run")),
            None => Err(Status::unauthenticated(format!(
                "a token is needed: set {TOKEN_VARIABLE}, or name the run's folder"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    };

    use super::*;

    const WORD: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_token_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(TOKEN_FILE);
        assert!(matches!(Token::find(folder.path()), Err(TokenError::File(PrivateError::Io { .. }))));
        let token = Token::keep(folder.path()).unwrap();
        assert_eq!(Token::keep(folder.path()).unwrap(), token);
        assert_eq!(Token::find(folder.path()).unwrap(), token);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap().trim().len(), 2 * BYTES);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(Token::keep(other.path()).unwrap(), token);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Token::keep(folder.path()).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn what_is_no_token_is_refused_and_none_is_printed() {
        for wrong in ["", "short", &"a".repeat(257), &format!("{WORD} {WORD}"), &format!("{WORD}\u{e9}")] {
            let error = Token::parse(wrong, "here").unwrap_err().to_string();
            assert!(error.starts_with("here holds no token"), "{error}");
        }
        let token = Token::parse(&format!("{WORD}\n"), "here").unwrap();
        assert_eq!(
            format!("{token:?} {:?}", Introduction::new(token.clone())),
            "Token(..) Introduction(Token(..))"
        );
    }

    #[test]
    fn only_who_knows_the_token_is_let_in() {
        let token = |text: &str| Token::parse(text, "here").unwrap();
        let mut door = Doorkeeper::new(token(WORD));
        let shown = |text: &str| Introduction::new(token(text)).call(Request::new(())).unwrap();
        door.call(shown(WORD)).unwrap();
        for (request, said) in [
            (Request::new(()), "a token is needed"),
            (shown(&WORD.replace('f', "e")), "not the token"),
            (shown(&format!("{WORD}0")), "not the token"),
        ] {
            let refused = door.call(request).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::Unauthenticated);
            assert!(refused.message().contains(said), "{refused}");
        }
        let mut bare = Request::new(());
        bare.metadata_mut().insert(HEADER, WORD.parse().unwrap());
        assert!(door.call(bare).is_err(), "without the word Bearer");
    }
}
