//! What most sessions never have: a word while it is not there, its own memory from when it is first changed.

/// A value that is as new until it is changed.
pub struct Rarely<T>(Option<Box<T>>);

impl<T> Default for Rarely<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Rarely<T> {
    /// The value, if it was ever changed.
    pub fn get(&self) -> Option<&T> {
        self.0.as_deref()
    }

    /// The same, to change what is there.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }
}

impl<T: Default> Rarely<T> {
    /// The value, to be changed.
    pub fn made(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_there_from_when_it_is_changed() {
        let mut rare: Rarely<Vec<u8>> = Rarely::default();
        assert!(rare.get().is_none() && rare.get_mut().is_none());
        rare.made().push(1);
        rare.made().push(2);
        assert_eq!(rare.get(), Some(&vec![1, 2]));
        rare.get_mut().expect("it is there").clear();
        assert_eq!(rare.get(), Some(&vec![]));
        assert_eq!(size_of::<Rarely<[u64; 40]>>(), size_of::<usize>());
    }
}
