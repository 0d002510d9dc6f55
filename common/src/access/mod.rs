//! Who may take part in a run: a word that its processes share, and certificates by which they know each other on a network
//! that others can read.
//!
//! Whoever commands a run can have its workers read any file that they may read. The coordinator therefore answers nobody
//! who does not know the run's [`Token`], on the loopback neither: a machine may have many users. Off the loopback it speaks
//! [`Tls`] alone, and to nobody without a certificate of the run.

mod certificates;
mod private;
mod tls;
mod token;

pub use certificates::{CertificateError, Validity, make};
pub use private::PrivateError;
pub use tls::{Side, TLS_FOLDER, TLS_VARIABLE, Tls, TlsError};
pub use token::{Doorkeeper, Introduction, TOKEN_FILE, TOKEN_VARIABLE, Token, TokenError};
