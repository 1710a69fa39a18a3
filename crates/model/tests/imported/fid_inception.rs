use ddae_model::networks::{InceptionConfig, inception_graph};

#[test]
fn maps_have_the_published_shapes() {
    let graph =
        inception_graph(&InceptionConfig { image_size: [40, 30], classifier: false }).expect("a graph");
    let shapes: Vec<(&str, String)> =
        graph.taps().iter().map(|(name, value)| (name.as_str(), graph.shape(*value).to_string())).collect();
    let expected =
        [("maxpool1", "[B, 64, 73, 73]"), ("maxpool2", "[B, 192, 35, 35]"), ("Mixed_6e", "[B, 768, 17, 17]")];
    assert_eq!(shapes, expected.map(|(name, shape)| (name, shape.to_string())));
    assert_eq!(graph.shape(graph.outputs()[0].1).to_string(), "[B, 2048]");
}

#[test]
fn images_of_the_networks_own_size_are_not_resized() {
    let names = |side| {
        let graph = inception_graph(&InceptionConfig { image_size: [side, side], classifier: false })
            .expect("a graph");
        graph.nodes().iter().map(|node| node.op.name()).collect::<Vec<_>>()
    };
    assert!(names(32).contains(&"ResizeBilinear"));
    assert!(!names(299).contains(&"ResizeBilinear"));
}

#[test]
fn images_of_nothing_and_of_everything_are_refused() {
    for side in [0, 1 << 62] {
        let config = InceptionConfig { image_size: [side, 32], classifier: false };
        let error = inception_graph(&config).expect_err("no image").to_string();
        assert_eq!(error, format!("network: image_size is [{side}, 32]; both must be 1 to 4096"));
    }
}
