//! Training of classifiers of noised images: a noise-conditional network, or a denoiser that is fine-tuned.
//!
//! | module | holds |
//! | --- | --- |
//! | `accuracy` | how many images are classified correctly, at the noise of training and by timestep |
//! | [`method`](mod@method) | batches, loss and accuracies, as the training loop asks for them |

mod accuracy;
pub mod method;

pub use method::ClassifierTraining;
