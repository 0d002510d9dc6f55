//! The formatters that come with Fulcrum, by name. What each does is in `worker/data/src/formatters`.

use serde::{Deserialize, Serialize};

/// `Variant = "name" version N coins KIND;`
macro_rules! formatters {
    ($($variant:ident = $word:literal version $version:literal coins $coins:ident;)+) => {
        /// A formatter that comes with Fulcrum, named as in the released code of the paper and its reproductions.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Formatter {
            $(
                #[doc = concat!("`", $word, "`")]
                #[serde(rename = $word)]
                $variant,
            )+
        }

        impl Formatter {
            /// Every formatter, in alphabetical order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word of the experiment file.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// Raised whenever the formatter makes other examples of the same rows.
            pub fn version(self) -> u32 {
                match self { $(Self::$variant => $version),+ }
            }

            /// Whether a row has several texts, of which [`super::Pick`] says which become examples.
            pub fn picks(self) -> bool {
                matches!(self.coins(), Coins::Pick | Coins::Pair)
            }

            /// What is left to chance.
            pub fn coins(self) -> Coins {
                match self { $(Self::$variant => Coins::$coins),+ }
            }
        }
    };
}

/// What a formatter leaves to chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coins {
    /// Nothing: a row has one text and its label.
    None,
    /// Which of a row's answers become examples, where not all do: it heeds [`super::Pick`].
    Pick,
    /// The same of a row's two texts, one of them preferred, or their order where they are compared.
    Pair,
    /// The order in which a row's one text shows two things.
    Order,
}

formatters! {
    AmazonPolarity = "amazon_polarity" version 1 coins None;
    AnliR2 = "anli-r2" version 1 coins None;
    AnthropicHh = "anthropic_hh" version 1 coins Pair;
    BoolQ = "boolq" version 1 coins None;
    Cola = "cola" version 1 coins None;
    CosmosQa = "cosmos_qa" version 1 coins Pick;
    Dream = "dream" version 1 coins Pick;
    EthicsDeontology = "ethics-deontology" version 1 coins None;
    EthicsJustice = "ethics-justice" version 1 coins None;
    EthicsUtilitarianism = "ethics-utilitarianism" version 1 coins Order;
    EthicsVirtue = "ethics-virtue" version 1 coins None;
    HellaSwag = "hellaswag" version 1 coins Pick;
    McTaco = "mc_taco" version 1 coins None;
    MultiRc = "multirc" version 1 coins None;
    OpenBookQa = "openbookqa" version 1 coins Pick;
    Paws = "paws" version 1 coins None;
    Piqa = "piqa" version 1 coins Pick;
    Quail = "quail" version 1 coins Pick;
    Quartz = "quartz" version 1 coins Pick;
    Sciq = "sciq" version 1 coins Pick;
    SciqWithSupport = "sciq_with_support" version 1 coins Pick;
    SocialIqa = "social_i_qa" version 1 coins Pick;
    Sst2 = "sst2" version 1 coins None;
    TwitterSentiment = "twitter-sentiment" version 1 coins None;
    Wic = "wic" version 1 coins None;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_the_file_is_the_word_of_the_plan_and_each_is_there_once() {
        for pair in Formatter::ALL.windows(2) {
            assert!(pair[0].word() < pair[1].word(), "{pair:?}");
        }
        for formatter in Formatter::ALL {
            assert_eq!(serde_json::to_value(formatter).unwrap(), formatter.word());
        }
    }
}
