//! The traces of a build without the feature `otel`: there are none, whatever the environment says.

use std::time::Duration;

use anyhow::Result;

use super::Happening;

/// Never made.
#[derive(Debug)]
pub(crate) enum Traces {}

impl Traces {
    /// None.
    pub(crate) fn from_environment(_run: &str, _unix: Duration) -> Result<Option<Self>> {
        Ok(None)
    }

    /// Never called.
    pub(crate) fn tell(&mut self, _unix: Duration, _happenings: &[Happening]) {
        match *self {}
    }

    /// Never called.
    pub(crate) fn trouble(&mut self) -> Option<String> {
        match *self {}
    }

    /// Never called.
    pub(crate) fn close(&self) {
        match *self {}
    }
}
