//! Nothing: the bench links the archives that the dependencies' build scripts make into shared libraries.
