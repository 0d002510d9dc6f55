//! Which store this is. A folder of the same name on two machines may be two folders, and then each waits for what the
//! other has: so whoever works on one store compares this first.

use object_store::{ObjectStoreExt as _, PutMode, PutOptions};

use super::{Result, Store, StoreError, is_absent, location};
use crate::Key;

/// Where it is written.
const PATH: &str = "identity";

/// Bytes of it: the digits of a key.
const LENGTH: u64 = 64;

/// How often it is looked for and, where it is not there, put.
const ASKS: usize = 3;

impl Store {
    /// What tells this store from every other: chosen by chance by whoever asks first, and kept in it from then on.
    ///
    /// # Errors
    /// If it can be neither read nor written, or something else lies in its place.
    pub async fn identity(&self) -> Result<Key> {
        for _ in 0..ASKS {
            if let Some(found) = self.written_identity().await? {
                return Ok(found);
            }
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).map_err(|error| StoreError::io(PATH)(error.into()))?;
            let (chosen, once) = (Key::of(&bytes), PutOptions::from(PutMode::Create));
            match self.objects().put_opts(&location(PATH)?, chosen.to_string().into(), once).await {
                Ok(_) => return Ok(chosen),
                Err(object_store::Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(self.refused(PATH)(error)),
            }
        }
        Err(StoreError::Identity("it comes and goes".to_owned()))
    }

    async fn written_identity(&self) -> Result<Option<Key>> {
        let found = match self.objects().get(&location(PATH)?).await {
            Ok(found) => found,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(self.refused(PATH)(error)),
        };
        if found.meta.size != LENGTH {
            return Err(StoreError::Identity(format!(
                "it has {} bytes instead of {LENGTH}",
                found.meta.size
            )));
        }
        let bytes = found.bytes().await.map_err(self.refused(PATH))?;
        let key = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
        key.map(Some).ok_or_else(|| StoreError::Identity("it is no key".to_owned()))
    }
}
