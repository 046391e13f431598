"""Handwritten digits, and a small neural network that learns to read them."""
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy

SEED = 20261121
CLASSES = 10
TEST_IMAGES = 360  # the last ones are kept for the test


def save_data(path):
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = numpy.random.default_rng(SEED + 2).permutation(len(digits.target))
    numpy.savez(path, images=(digits.data[order] / 16).astype(numpy.float32), labels=digits.target[order])


class Model:
    """Two layers. Weights and gradients each lie in one array, of which the layers' matrices are views."""

    def __init__(self, pixels, hidden):
        shapes = [(pixels, hidden), (hidden,), (hidden, CLASSES), (CLASSES,)]
        size = sum(int(numpy.prod(shape)) for shape in shapes)
        self.weights = numpy.zeros(size, numpy.float32)
        self.gradients = numpy.zeros(size + 1, numpy.float32)  # the last element: the loss, to travel along
        random = numpy.random.default_rng(SEED)
        self.layers, self.layer_gradients, begin = [], [], 0
        for shape in shapes:
            end = begin + int(numpy.prod(shape))
            layer = self.weights[begin:end].reshape(shape)
            if len(shape) == 2:
                layer[:] = random.standard_normal(shape) * numpy.sqrt(2 / shape[0])
            self.layers.append(layer)
            self.layer_gradients.append(self.gradients[begin:end].reshape(shape))
            begin = end

    def forward(self, images):
        first, first_bias, second, second_bias = self.layers
        hidden = numpy.maximum(images @ first + first_bias, 0)
        scores = hidden @ second + second_bias
        scores -= scores.max(axis=1, keepdims=True)
        exponentials = numpy.exp(scores)
        return hidden, exponentials / exponentials.sum(axis=1, keepdims=True)

    def add_up_gradients(self, images, labels, batch):
        """Gradients and loss of these images' share of a batch."""
        hidden, probabilities = self.forward(images)
        rows = numpy.arange(len(labels))
        self.gradients[-1] = -numpy.log(probabilities[rows, labels]).sum() / batch
        errors = probabilities
        errors[rows, labels] -= 1
        errors /= batch
        backward = (errors @ self.layers[2].T) * (hidden > 0)
        for gradient, value in zip(self.layer_gradients,
                                   (images.T @ backward, backward.sum(axis=0), hidden.T @ errors, errors.sum(axis=0))):
            gradient[:] = value

    def step(self, learning_rate):
        self.weights -= learning_rate * self.gradients[:-1]

    def accuracy(self, images, labels):
        return float((self.forward(images)[1].argmax(axis=1) == labels).mean())
