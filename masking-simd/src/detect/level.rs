//! What every vector level has, written once.
//!
//! A function with target features is inlined only into one that has the same, so the shared ones cannot be generic over
//! a level: they are made in each level's own module, around its `Text`, `text`, `lower`, `equal`, `within` and `tokens`.

/// `classify` and `candidates` for the level of this name, a list of target features.
macro_rules! level_functions {
    ($features:literal) => {
        /// The classes of each block of `bytes`.
        #[target_feature(enable = $features)]
        pub(crate) fn classify(
            needs: super::masks::Needs,
            bytes: &[u8],
            blocks: usize,
            classes: &mut super::masks::Classes,
        ) {
            use super::masks::{Needs, each_block};
            match needs {
                Needs::Personal => each_block(needs, bytes, blocks, classes, |block| one::<false>(block)),
                Needs::All => each_block(needs, bytes, blocks, classes, |block| one::<true>(block)),
            }
        }

        /// [`super::filter::candidates`] in the registers of this level.
        #[target_feature(enable = $features)]
        pub(crate) fn candidates(
            wanted: super::entity::Detectors,
            classes: &super::masks::Classes,
            starts: &[u64; super::masks::CHUNK_BLOCKS],
            blocks: usize,
            found: &mut super::filter::Candidates,
        ) {
            super::filter::candidates(wanted, classes, starts, blocks, found);
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn one<const ALL: bool>(block: &[u8; super::masks::READ_BYTES]) -> super::masks::Masks {
            let text = text(block);
            let lower = lower(text);
            let mut masks = super::masks::Masks {
                digit: within(text, b'0', b'9'),
                letter: within(lower, b'a', b'z'),
                space: equal(text, b' '),
                hyphen: equal(text, b'-'),
                at: equal(text, b'@'),
                plus: equal(text, b'+'),
                mark: within(text, b'(', b'/'),
                zero: equal(text, b'0'),
                open: equal(text, b'('),
                percent: equal(text, b'%'),
                lead: equal(lower, super::masks::LEAD),
                ..super::masks::Masks::default()
            };
            if ALL {
                masks.dot = equal(text, b'.');
                masks.colon = equal(text, b':');
                masks.sign = within(text, b'=', b'>');
                masks.token = tokens(block);
            }
            masks
        }
    };
}

pub(super) use level_functions;
