//! x
pub mod error;
pub mod knn;
pub mod labels;
pub mod logistic;
pub mod rows;
pub mod scaling;
