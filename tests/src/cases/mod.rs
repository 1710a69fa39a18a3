//! The fixtures as cases that every interpreter is put through.
//!
//! | module | holds |
//! | --- | --- |
//! | `case` | a graph with weights, inputs and what the published code computed |
//! | `unet`, `edm2`, `song`, `published`, `imported` | networks |
//! | `processes` | losses and features |
//! | `samplers` | whole sampling runs |
//! | `weights` | a fixture in the project's types, and weights by rule |
//!
//! [`fixture_tests!`](crate::fixture_tests) makes a test of each; an interpreter says how it runs a graph.

mod case;
pub mod edm2;
pub mod imported;
pub mod processes;
pub mod published;
pub mod samplers;
pub mod song;
pub mod unet;
mod weights;

pub use case::{Case, Run, stored};
pub use weights::rule_weights;

/// A test for every fixture. `$open` lists functions from a graph and its weights (`&Graph`, `&Weights`) to a
/// [`Run`](crate::cases::Run): the ways of one interpreter to run it.
#[macro_export]
macro_rules! fixture_tests {
    ($($open:expr),+ $(,)?) => {
        $crate::fixture_tests! { @ [$($open),+]
            cases {
                unet_tiny => $crate::cases::unet::unet_tiny,
                unet_tiny_pp => $crate::cases::unet::unet_tiny_pp,
                unet_ddpm => $crate::cases::unet::unet_ddpm,
                unet_ddpmpp_aug => $crate::cases::unet::unet_ddpmpp_aug,
                soda_net => $crate::cases::published::soda_net,
                wrn_noise => $crate::cases::published::wrn_noise,
                noise_mlp => $crate::cases::published::noise_mlp,
                diffusers_ddpm => $crate::cases::published::diffusers_ddpm,
                edm2_tiny => $crate::cases::edm2::tiny,
                edm2_full => $crate::cases::edm2::full,
                song_tiny => $crate::cases::song::tiny,
                song_full => $crate::cases::song::full,
                dit => $crate::cases::imported::dits,
                vae_encoder => $crate::cases::imported::vae_encoder,
                fid_inception => $crate::cases::imported::fid_inception,
                ddpm_features => $crate::cases::processes::ddpm_features,
                edm_features => $crate::cases::processes::edm_features,
                ddpm_loss => $crate::cases::processes::ddpm_loss,
                edm_loss => $crate::cases::processes::edm_loss,
                soda_loss => $crate::cases::processes::soda_loss,
            }
            samplers {
                ddpm_sampling => $crate::cases::samplers::ancestral_sample,
                ddim_sampling => $crate::cases::samplers::ddim_samples,
                edm_sampling => $crate::cases::samplers::edm_samples,
                soda_sampling => $crate::cases::samplers::soda_sample,
            }
        }
    };
    (@ $open:tt cases { $($case:ident => $cases:expr,)+ } samplers { $($sampler:ident => $samplers:expr,)+ }) => {
        $(
            #[test]
            fn $case() {
                for case in Vec::<$crate::cases::Case>::from($cases()) {
                    for open in $crate::fixture_tests!(@open $open) {
                        case.check_whole_and_single(&mut open(&case.graph, &case.weights));
                    }
                }
            }
        )+
        $(
            #[test]
            fn $sampler() {
                for case in Vec::<$crate::cases::samplers::SamplerCase>::from($samplers()) {
                    for open in $crate::fixture_tests!(@open $open) {
                        case.check(&mut open(&case.graph, &case.weights));
                    }
                }
            }
        )+
    };
    (@open [$($open:expr),+]) => {
        [$($open as fn(&ddae_model::graph::Graph, &ddae_model::weights::Weights) -> $crate::cases::Run),+]
    };
}
