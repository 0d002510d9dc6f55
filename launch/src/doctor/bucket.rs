//! A bucket for a store: whether it answers, and how soon.

use std::time::{Duration, Instant};

use fulcrum_common::store::{Place, Store, StoreError};

use super::Finding;

/// Above this every small stage is felt: it takes some ten requests.
const SLOW: Duration = Duration::from_millis(500);

/// Looks at a bucket, and writes nothing.
pub(crate) async fn bucket(place: &Place) -> Finding {
    judged(place, look(place).await)
}

/// How many artifacts there are, and how long one request takes.
async fn look(place: &Place) -> Result<(usize, Duration), StoreError> {
    let store = Store::at(place)?;
    let began = Instant::now();
    let keys = store.keys().await?;
    // A listing, and a request for each artifact.
    let requests = u32::try_from(keys.len() + 1).unwrap_or(u32::MAX);
    Ok((keys.len(), began.elapsed() / requests))
}

fn judged(place: &Place, found: Result<(usize, Duration), StoreError>) -> Finding {
    let what = "bucket";
    match found {
        Err(error) => Finding::bad(what, error.to_string()),
        Ok((artifacts, each)) => {
            let said =
                format!("{artifacts} artifacts in {place}, {:.0} ms a request", each.as_secs_f64() * 1e3);
            match each > SLOW {
                true => Finding::doubtful(what, format!("{said}: small stages will wait for it")),
                false => Finding::good(what, said),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_bucket_that_answers_late_is_doubtful_and_one_that_does_not_is_bad() {
        let place: Place = "s3://models/a".parse().unwrap();
        for (millis, verdict) in [(20, Verdict::Good), (900, Verdict::Doubtful)] {
            let finding = judged(&place, Ok((3, Duration::from_millis(millis))));
            assert_eq!(finding.verdict, verdict);
            assert!(finding.said.contains("3 artifacts in s3://models/a"), "{}", finding.said);
        }
        let refused = StoreError::NoCache("s3://models/a".into());
        assert_eq!(judged(&place, Err(refused)).verdict, Verdict::Bad);
    }
}
