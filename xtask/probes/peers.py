"""What the probes are held against, each as a whole process: `peers.py WORK FOLDER`, which prints one JSON object.

`make` writes the data first: 50,000 and 10,000 rows of 512 float32 numbers with the spectrum of pooled activations
(correlated, not negative), in 10 and in 200 classes, and two sets of statistics of 2,048 features.
"""

import json
import sys
from pathlib import Path


def make(folder):
    import numpy as np

    train, test, dim = 50_000, 10_000, 512
    draw = np.random.default_rng(0)
    basis, _ = np.linalg.qr(draw.standard_normal((dim, dim)))
    mix = ((1 + np.arange(dim) / 8) ** -0.5)[:, None] * basis
    for classes in (10, 200):
        centres = 0.12 * draw.standard_normal((classes, dim)) @ mix + 0.3
        for name, rows in (("train", train), ("test", test)):
            labels = draw.integers(0, classes, rows)
            noise = draw.standard_normal((rows, dim)) @ mix
            np.save(folder / f"{name}{classes}.npy", np.maximum(noise + centres[labels], 0).astype(np.float32))
            np.save(folder / f"{name}{classes}_labels.npy", labels)
    dim, rows = 2048, 10_000
    mix = draw.standard_normal((dim, dim)) * (1 + np.arange(dim) / 32)[:, None] ** -0.5
    for name in ("real", "fake"):
        features = np.maximum(draw.standard_normal((rows, dim)) @ mix + draw.standard_normal(dim), 0)
        np.savez(folder / f"{name}.npz", mu=features.mean(0), sigma=np.cov(features, rowvar=False))
    return {}


def load(folder, classes):
    import numpy as np

    names = (f"{part}{classes}{what}" for part in ("train", "test") for what in ("", "_labels"))
    return [np.load(folder / f"{name}.npy") for name in names]


def faiss_knn(folder):
    import faiss
    import numpy as np

    train, labels, test, truth = load(folder, 10)
    faiss.normalize_L2(train)
    faiss.normalize_L2(test)
    index = faiss.IndexFlatL2(train.shape[1])
    index.add(train)
    _, found = index.search(test, 200)
    votes = np.zeros((len(test), 10), np.int64)
    np.add.at(votes, (np.arange(len(test))[:, None], labels[found]), 1)
    return {"accuracy": float((votes.argmax(1) == truth).mean())}


def sklearn_knn(folder):
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import normalize

    train, labels, test, truth = load(folder, 10)
    fitted = KNeighborsClassifier(200, algorithm="brute").fit(normalize(train), labels)
    return {"accuracy": float((fitted.predict(normalize(test)) == truth).mean())}


def sklearn_logistic(folder, classes):
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.preprocessing import StandardScaler

    train, labels, test, truth = load(folder, classes)
    scaler = StandardScaler().fit(train.astype("float64"))
    train = scaler.transform(train.astype("float64"))
    fitted = LogisticRegression(C=1.0, max_iter=1000).fit(train, labels)
    accuracy = float((fitted.predict(scaler.transform(test.astype("float64"))) == truth).mean())
    penalty = float((fitted.coef_**2).sum()) / (2 * len(labels))
    return {"accuracy": accuracy, "objective": float(log_loss(labels, fitted.predict_proba(train))) + penalty}


def scipy_frechet(folder):
    import numpy as np
    from scipy.linalg import sqrtm

    real, fake = (np.load(folder / f"{name}.npz") for name in ("real", "fake"))
    root = sqrtm(real["sigma"] @ fake["sigma"]).real
    difference = real["mu"] - fake["mu"]
    return {"distance": float(difference @ difference + np.trace(real["sigma"] + fake["sigma"] - 2 * root))}


WORKS = {
    "make": make,
    "faiss-knn": faiss_knn,
    "scikit-learn-knn": sklearn_knn,
    "scikit-learn-logistic10": lambda folder: sklearn_logistic(folder, 10),
    "scikit-learn-logistic200": lambda folder: sklearn_logistic(folder, 200),
    "scipy-frechet": scipy_frechet,
}

if __name__ == "__main__":
    print(json.dumps(WORKS[sys.argv[1]](Path(sys.argv[2]))))
