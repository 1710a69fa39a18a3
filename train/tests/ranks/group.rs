//! Ranks as threads of one process: gradients, batch norms and steps over all of them are those of one rank that has the whole batch.

use std::net::TcpListener;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use ddae_base::Stop;
use ddae_data::loader::Parts;
use ddae_model::config::{OptimArgs, TrainingConfig};
use ddae_model::graph::{Conv, Graph, Path, Shape};
use ddae_model::networks::{UNetConfig, unet_graph};
use ddae_model::tensor::{DType, Tensor as Array};
use ddae_model::weights::Weights;
use ddae_tests::rule_weight;
use ddae_train::optimizer::Optimizer;
use ddae_train::ranks::{Division, Place, Ranks};
use ddae_train::torch::shim::ranks::{Group, Overlap, Reducer, Store};
use ddae_train::torch::{Layout, Mode, Network, Parameters, Precision, Share, TorchError};
use tch::{Device, Kind, Tensor};

const TRAINING: Mode = Mode { train: true, precision: Precision::Full };
const LAYOUT: Layout = Layout::ChannelsLast;

/// What `work` gives on each of `world` ranks.
fn on_ranks<T: Send>(world: usize, work: impl Fn(usize, &Arc<Group>) -> T + Sync) -> Vec<T> {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let (together, time) = (Barrier::new(world), Duration::from_secs(120));
    let rank = |rank: usize| {
        let store = Store::connect("127.0.0.1", port, rank == 0, time, "test").expect("a store");
        let group = Group::gloo(&store, [rank, world], time, "127.0.0.1", "").expect("a group");
        let found = work(rank, &Arc::new(group));
        // The store is rank 0's.
        together.wait();
        found
    };
    thread::scope(|scope| {
        let ranks: Vec<_> = (0..world).map(|number| scope.spawn(move || rank(number))).collect();
        ranks.into_iter().map(|rank| rank.join().expect("a rank")).collect()
    })
}

#[test]
fn ranks_that_wait_for_others_see_what_ends_them() {
    let place = |rank: usize| {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let (host, notes) = ("127.0.0.1".to_string(), vec![]);
        let (agent, launcher) = (None, None);
        Place { rank, world: 3, local_rank: rank, local_world: 3, host, port, agent, launcher, notes }
    };
    let (start, patience) = (Instant::now(), Duration::from_secs(30));
    let join = |place: &Place, stop: &Stop| Ranks::join(place, patience, stop).map(drop).expect_err("an end");
    for rank in [0, 1] {
        let stop = Stop::new();
        stop.request();
        let error = join(&place(rank), &stop);
        assert!(error.is_interrupted(), "rank {rank}: {error}");
    }
    let first = place(0);
    let error = thread::scope(|scope| {
        scope.spawn(|| {
            let time = Duration::from_secs(120);
            let store = Store::connect("127.0.0.1", first.port, false, time, "ddae").expect("a store");
            store.set("failed", "rank 2 ended: it has no images").expect("set");
        });
        join(&first, &Stop::new()).to_string()
    });
    assert_eq!(error, "rank 2 ended: it has no images");
    assert!(start.elapsed() < Duration::from_secs(300), "they waited as long as they may");
}

/// A UNet with attention and norms, and no dropout: threads share libtorch's generator.
fn unet() -> Graph {
    let config = UNetConfig {
        image_shape: [3, 8, 8],
        n_channels: 32,
        ch_mults: vec![1, 2],
        is_attn: vec![false, true],
        n_blocks: 1,
        dropout: 0.0,
        ..UNetConfig::ddpm()
    };
    unet_graph(&config, false).expect("a network")
}

/// Convolutions around batch norms, one of them over single values.
fn normed() -> Graph {
    let mut g = Graph::new();
    let x = g.input("x", DType::F32, Shape::batch(&[3, 8, 8])).expect("x");
    let t = g.input("t", DType::F32, Shape::batch(&[])).expect("t");
    let h = g.conv2d(&Path::root().at("conv1"), x, Conv::same(8, 3).without_bias()).expect("a convolution");
    let h = g.batch_norm(&Path::root().at("bn1"), h, 1e-5).expect("a norm");
    let h = g.silu(h).expect("an activation");
    let h = g.conv2d(&Path::root().at("conv2"), h, Conv::same(4, 3)).expect("a convolution");
    let h = g.batch_norm(&Path::root().at("bn2"), h, 1e-5).expect("a norm");
    let t = g.affine(t, 0.0, 0.0).expect("nothing of t");
    let t = g.reshape(t, Shape::batch(&[1, 1, 1])).expect("as an image");
    let y = g.add(h, t).expect("a sum");
    g.output("y", y);
    g
}

fn parameters(graph: &Graph) -> Parameters {
    let nodes = graph.parameters().map(|(_, node)| node);
    let tensor = |name: &str, shape: &[usize]| Array::f32(shape, rule_weight(name, shape));
    let weights: Weights =
        nodes.map(|node| (node.name.clone(), tensor(&node.name, &node.shape.resolve(1)))).collect();
    Parameters::new(graph, &weights, Device::Cpu, Kind::Float, LAYOUT, true).expect("parameters")
}

/// Images and times of a batch, the same on every rank.
fn batch(size: i64, step: i64) -> [Tensor; 2] {
    let count = size * 3 * 64;
    let x = Tensor::arange(count, (Kind::Float, Device::Cpu)) * (0.37 + 0.01 * step as f64);
    let t = Tensor::arange(size, (Kind::Float, Device::Cpu)) * 0.11;
    [x.sin().reshape([size, 3, 8, 8]), t]
}

/// A pass over the `part` of a batch that is a rank's: its addition to the mean loss.
fn loss(
    network: &Network,
    parameters: &Parameters,
    [x, t]: &[Tensor; 2],
    part: std::ops::Range<usize>,
    group: Option<&Arc<Group>>,
) -> Tensor {
    let total = x.size()[0] as usize;
    let (first, count) = (part.start as i64, part.len() as i64);
    let share = Share { first: part.start, total, group: group.cloned() };
    let [x, t] = [x, t].map(|whole| whole.narrow(0, first, count));
    let y =
        network.forward_share(parameters, &[("x", &x), ("t", &t)], TRAINING, Some(&share)).expect("a result");
    // Every sample has another target, so that no two have the same gradient.
    let wanted = (t.reshape([-1, 1, 1, 1]) + 0.3).expand_as(&y[0]);
    (&y[0] - wanted).square().mean(Kind::Float) * (count as f64 / total as f64)
}

fn values(tensors: &[Tensor]) -> Vec<Vec<f32>> {
    tensors.iter().map(|t| Vec::try_from(t.detach().contiguous().reshape([-1])).expect("values")).collect()
}

#[track_caller]
fn assert_close(ours: &[Vec<f32>], theirs: &[Vec<f32>], tolerance: f32, what: &str) {
    assert_eq!(ours.len(), theirs.len());
    for (number, (a, b)) in ours.iter().zip(theirs).enumerate() {
        let scale = b.iter().fold(1.0f32, |most, v| most.max(v.abs()));
        let error = a.iter().zip(b).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(error <= tolerance * scale, "{what}, tensor {number}: {error:e} of {scale}");
    }
}

fn place(rank: usize, world: usize, total: usize) -> std::ops::Range<usize> {
    Parts::of_rank(rank, world, 1).places(0, total)
}

/// What a rank finds: gradients, buffers after the pass, and how the sums went.
type Found = (Vec<Vec<f32>>, Vec<Vec<f32>>, Overlap);

fn gradients(graph: &Graph, world: usize, total: usize) -> Vec<Found> {
    on_ranks(world, |rank, group| {
        let network = Network::new(graph, Device::Cpu, Kind::Float, LAYOUT).expect("a network");
        let parameters = parameters(graph);
        // Small buckets, so that there are some.
        let reducer = Reducer::with_buckets(Arc::clone(group), parameters.tensors(), 1 << 10, 1 << 14)
            .expect("a reducer");
        let loss =
            loss(&network, &parameters, &batch(total as i64, 0), place(rank, world, total), Some(group));
        let overlap = reducer.sum_during(|| {
            loss.backward();
            Ok::<(), TorchError>(())
        });
        let gradients = values(&parameters.gradients().expect("gradients"));
        (gradients, values(parameters.buffers()), overlap.expect("summed"))
    })
}

#[test]
fn the_sum_of_gradients_is_that_of_the_whole_batch() {
    for (graph, name) in [(unet(), "UNet"), (normed(), "batch norms")] {
        // Whole parts, and uneven ones.
        for (world, total) in [(2, 6), (4, 6)] {
            let network = Network::new(&graph, Device::Cpu, Kind::Float, LAYOUT).expect("a network");
            let whole = parameters(&graph);
            loss(&network, &whole, &batch(total as i64, 0), 0..total, None).backward();
            let wanted = values(&whole.gradients().expect("gradients"));
            let (mut of_parts, mut differ) = (gradients(&graph, world, total), false);
            let (first, buffers, overlap) = of_parts.remove(0);
            assert_close(&first, &wanted, 1e-6, &format!("{name} on {world} ranks"));
            assert_close(
                &buffers,
                &values(whole.buffers()),
                1e-6,
                &format!("buffers of {name} on {world} ranks"),
            );
            assert!(overlap.buckets >= 2 && overlap.early == overlap.buckets, "{name}: {overlap:?}");
            for (other, of_other, _) in of_parts {
                differ |= other != first || of_other != buffers;
            }
            assert!(!differ, "{name}: ranks find the same, to the bit");
        }
    }
}

#[test]
fn weights_stay_the_same_on_all_ranks() {
    for world in [2, 4] {
        let graph = normed();
        let config = TrainingConfig { optim_args: OptimArgs::default(), ..demo() };
        let found = on_ranks(world, |rank, group| {
            let network = Network::new(&graph, Device::Cpu, Kind::Float, LAYOUT).expect("a network");
            let parameters = parameters(&graph);
            let reducer = Reducer::new(Arc::clone(group), parameters.tensors()).expect("a reducer");
            let mut optimizer =
                Optimizer::new(&config, &parameters, |_| 1.0, Device::Cpu, None).expect("an optimiser");
            let mut losses = Vec::new();
            for step in 0..50 {
                let loss = loss(&network, &parameters, &batch(8, step), place(rank, world, 8), Some(group));
                reducer.sum_during(|| optimizer.backward(&loss)).expect("summed");
                optimizer.set_rate(1e-2).expect("a rate");
                let _ = optimizer.update(&parameters).expect("a step");
                let loss = loss.detach();
                group.sum(&loss).expect("summed");
                losses.push(loss.double_value(&[]));
            }
            (values(parameters.state()), losses)
        });
        let (first, losses) = &found[0];
        assert!(losses[49] < 0.5 * losses[0], "it learns: {} to {}", losses[0], losses[49]);
        for (rank, (weights, _)) in found.iter().enumerate() {
            assert!(weights == first, "rank {rank} of {world}");
        }
    }
}

#[test]
fn what_rank_0_has_is_given_to_all() {
    let found = on_ranks(3, |rank, group| {
        let own = |values: [f32; 6]| Tensor::from_slice(&values).reshape([1, 3, 1, 2]);
        let tensor = own([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) * (rank + 1) as f64;
        // Of another order in memory.
        let permuted = tensor.permute([0, 2, 3, 1]);
        group.broadcast(&[permuted.shallow_clone()]).expect("given");
        let all = group.gather(&Tensor::from_slice(&[rank as i64])).expect("gathered");
        let largest = Tensor::from_slice(&[rank as i64, -(rank as i64)]);
        group.largest(&largest).expect("exchanged");
        let largest: Vec<i64> = Vec::try_from(largest).expect("values");
        let all: Vec<i64> = Vec::try_from(all.reshape([-1])).expect("values");
        (values(&[tensor]), all, largest)
    });
    for (tensor, all, largest) in found {
        assert_eq!(tensor[0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!((all, largest), (vec![0, 1, 2], vec![2, 0]));
    }
}

#[test]
fn what_is_evaluated_is_divided_and_put_together_on_rank_0() {
    let (stop, sizes) = (Stop::new(), [(7, 2), (1, 4), (12, 4), (5, 1), (0, 4)]);
    let two = |at: usize| [at as f64 + 0.25, -(at as f64)];
    let found = on_ranks(3, |rank, group| {
        let division = Division::among(group, rank, &stop);
        sizes.map(|(count, batch)| {
            let mut own = 0..0;
            let all = division.gathered([count, 2], batch, |part| {
                own = part.clone();
                Ok(Some(part.flat_map(two).collect()))
            });
            (own, all.expect("gathered").expect("no interrupt"))
        })
    });
    for (which, (count, batch)) in sizes.into_iter().enumerate() {
        let wanted: Vec<f64> = (0..count).flat_map(two).collect();
        let alone = Division::alone(&stop).gathered([count, 2], batch, |part| {
            assert_eq!(part, 0..count);
            Ok(Some(part.flat_map(two).collect()))
        });
        assert_eq!(alone.expect("found"), Some(wanted.clone()));
        let mut next = 0;
        for (rank, of_rank) in found.iter().enumerate() {
            let (part, all) = &of_rank[which];
            let wanted: &[f64] = if rank == 0 { &wanted } else { &[] };
            assert_eq!(all, wanted, "{count} in {batch}");
            if !part.is_empty() {
                assert!(
                    part.start == next && part.start.is_multiple_of(batch),
                    "{part:?} of {count} in {batch}"
                );
                next = part.end;
            }
        }
        assert_eq!(next, count);
    }
    assert_eq!(found.iter().map(|of_rank| of_rank[3].0.len()).collect::<Vec<_>>(), [1, 2, 2]);
}

/// Latents of a large data set go from rank to rank in pieces.
#[test]
fn more_than_is_sent_at_once_comes_whole() {
    let (stop, width) = (Stop::new(), 3 << 20);
    let all = |part: std::ops::Range<usize>| (part.start * width..part.end * width).map(|at| at as f32 + 0.5);
    let found = on_ranks(2, |rank, group| {
        let of_part = |part| Ok(Some(all(part).collect::<Vec<f32>>()));
        Division::among(group, rank, &stop).gathered([4, width], 1, of_part).expect("gathered")
    });
    let whole = found[0].as_ref().expect("no interrupt");
    assert!(whole.len() == 4 * width && whole.iter().copied().eq(all(0..4)));
}

#[test]
fn a_stop_of_one_rank_is_that_of_all() {
    let gathered = |size, batch, stopped: usize, gives: bool| {
        on_ranks(3, |rank, group| {
            let stop = Stop::new();
            if rank == stopped && gives {
                stop.request();
            }
            let part =
                |part: std::ops::Range<usize>| Ok((rank != stopped || gives).then(|| vec![0f32; part.len()]));
            Division::among(group, rank, &stop).gathered([size, 1], batch, part).expect("an answer")
        })
    };
    assert_eq!(gathered(6, 2, 1, false), [None, None, None]);
    // One batch, which is rank 2's: the others have nothing to do, and can be asked to stop meanwhile.
    assert_eq!(gathered(1, 4, 0, true), [None, None, None]);
}

#[test]
fn ranks_with_unlike_images_do_not_wait_for_each_other() {
    let stop = Stop::new();
    for unlike in [[7, 1, 2], [6, 2, 2], [6, 1, 3]] {
        let errors = on_ranks(2, |rank, group| {
            let [count, width, batch] = if rank == 1 { unlike } else { [6, 1, 2] };
            let zeros = |part: std::ops::Range<usize>| Ok(Some(vec![0f32; part.len() * width]));
            let division = Division::among(group, rank, &stop);
            division.gathered([count, width], batch, zeros).expect_err("unlike").to_string()
        });
        assert_eq!(errors[0], errors[1]);
        let wanted = format!("ranks have unlike images to evaluate: [6, 1, 2] and {unlike:?} (");
        assert!(errors[0].starts_with(&wanted), "{}", errors[0]);
    }
}

fn demo() -> TrainingConfig {
    let demo = include_str!("../../../configs/demo.yaml");
    ddae_model::config::Config::parse(demo, "demo.yaml", &[]).expect("a configuration").training
}
