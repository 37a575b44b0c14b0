"""The works that catalog entries name as their sources, as BibTeX has them.

An entry belongs to a source that names one of its ``marks``: an arXiv number, a DOI, or words where the work has
neither. Names and titles are as LaTeX reads them.
"""

import re
from dataclasses import dataclass

IDENTIFIER = re.compile(r"arXiv:\d{4}\.\d{4,5}|doi:10\.\d+/[^\s,;]+")
"""What in the text of a source names a work beyond doubt."""


@dataclass(frozen=True)
class Reference:
    """A BibTeX entry: its key, its kind, its fields, and the words of a source that mean it."""

    key: str
    kind: str
    fields: tuple[tuple[str, str], ...]
    marks: tuple[str, ...]

    def bibtex(self) -> str:
        """The entry."""
        lines = [f"  {name} = {{{value}}}" for name, value in self.fields]
        return f"@{self.kind}{{{self.key},\n" + ",\n".join(lines) + "\n}"


def _work(key: str, author: str, title: str, year: int, *marks: str, kind: str = "misc", **fields: str) -> Reference:
    plain = {"author": author, "title": title, "year": str(year)} | fields
    if arxiv := next((mark.removeprefix("arXiv:") for mark in marks if mark.startswith("arXiv:")), ""):
        plain |= {"eprint": arxiv, "archivePrefix": "arXiv"}
    if doi := next((mark.removeprefix("doi:") for mark in marks if mark.startswith("doi:")), ""):
        plain |= {"doi": doi}
    return Reference(key, kind, tuple(plain.items()), marks)


def _talk(key: str, author: str, title: str, year: int, where: str, *marks: str, **fields: str) -> Reference:
    return _work(key, author, title, year, *marks, kind="inproceedings", booktitle=where, **fields)


def _paper(key: str, author: str, title: str, year: int, journal: str, *marks: str, **fields: str) -> Reference:
    return _work(key, author, title, year, *marks, kind="article", journal=journal, **fields)


ICLR = "International Conference on Learning Representations"
ICML = "International Conference on Machine Learning"
NEURIPS = "Advances in Neural Information Processing Systems"

REFERENCES = (
    # optimizers
    _talk("sutskever2013importance", "Sutskever, Ilya and Martens, James and Dahl, George and Hinton, Geoffrey",
          "On the Importance of Initialization and Momentum in Deep Learning", 2013, ICML, "Sutskever et al. 2013",
          volume="28", pages="1139--1147", series="Proceedings of Machine Learning Research"),
    _talk("kingma2015adam", "Kingma, Diederik P. and Ba, Jimmy", "{Adam}: A Method for Stochastic "
    "Optimization", 2015, ICLR,
          "arXiv:1412.6980"),
    _talk("reddi2018convergence", "Reddi, Sashank J. and Kale, Satyen and Kumar, Sanjiv", "On the Convergence of "
    "{Adam} and Beyond", 2018,
          ICLR, "arXiv:1904.09237"),
    _talk("loshchilov2019decoupled", "Loshchilov, Ilya and Hutter, Frank", "Decoupled Weight Decay "
    "Regularization", 2019, ICLR,
          "arXiv:1711.05101"),
    _talk("dozat2016incorporating", "Dozat, Timothy", "Incorporating {Nesterov} Momentum into "
    "{Adam}", 2016, ICLR + ", Workshop Track",
          "Dozat 2016"),
    _talk("liu2020variance", "Liu, Liyuan and Jiang, Haoming and He, Pengcheng and Chen, Weizhu and Liu, Xiaodong and "
    "Gao, Jianfeng and "
          "Han, Jiawei", "On the Variance of the Adaptive Learning Rate and Beyond", 2020, ICLR, "arXiv:1908.03265"),
    _paper("duchi2011adaptive", "Duchi, John and Hazan, Elad and Singer, Yoram",
           "Adaptive Subgradient Methods for Online Learning and Stochastic "
           "Optimization", 2011, "Journal of Machine Learning Research",
           "Duchi, Hazan & Singer 2011", volume="12", pages="2121--2159"),
    _work("zeiler2012adadelta", "Zeiler, Matthew D.", "{ADADELTA}: An Adaptive Learning Rate "
    "Method", 2012, "arXiv:1212.5701"),
    _work("hinton2012lecture", "Hinton, Geoffrey and Srivastava, Nitish and Swersky, Kevin",
          "Neural Networks for Machine Learning, Lecture 6a: Overview of Mini-Batch Gradient Descent", 2012,
          "Hinton, Srivastava & Swersky 2012", howpublished="Coursera lecture slides"),
    _talk("riedmiller1993direct", "Riedmiller, Martin and Braun, Heinrich",
          "A Direct Adaptive Method for Faster Backpropagation Learning: The {RPROP} Algorithm", 1993,
          "{IEEE} International Conference on Neural "
          "Networks", "Riedmiller & Braun 1993", "doi:10.1109/ICNN.1993.298623",
          pages="586--591"),
    _paper("polyak1992acceleration", "Polyak, Boris T. and Juditsky, Anatoli B.", "Acceleration of Stochastic "
    "Approximation by Averaging",
           1992, "{SIAM} Journal on Control and "
           "Optimization", "Polyak & Juditsky 1992", "doi:10.1137/0330046", volume="30", number="4",
           pages="838--855"),
    _talk("shazeer2018adafactor", "Shazeer, Noam and Stern, Mitchell",
          "{Adafactor}: Adaptive Learning Rates with Sublinear Memory Cost", 2018, ICML, "arXiv:1804.04235"),
    _paper("liu1989limited", "Liu, Dong C. and Nocedal, Jorge", "On the Limited Memory {BFGS} Method for Large Scale "
    "Optimization", 1989,
           "Mathematical Programming", "Liu & Nocedal 1989", "doi:10.1007/BF01589116", volume="45", pages="503--528"),
    _work("jordan2024muon", "Jordan, Keller and Jin, Yuchen and Boza, Vlado and You, Jiacheng and Cesista, Franz and "
    "Newhouse, Laker and "
          "Bernstein, Jeremy", "{Muon}: An Optimizer for Hidden Layers in Neural Networks", 2024, "Jordan et al. 2024",
          url="https://kellerjordan.github.io/posts/muon/"),
    _work("liu2025muon", "Liu, Jingyuan and Su, Jianlin and others", "{Muon} is Scalable for {LLM} "
    "Training", 2025, "arXiv:2502.16982"),
    _talk("chen2023symbolic", "Chen, Xiangning and Liang, Chen and Huang, Da and Real, Esteban and Wang, Kaiyuan and "
    "Liu, Yao and "
          "Pham, Hieu and Dong, Xuanyi and Luong, Thang and Hsieh, Cho-Jui and Lu, Yifeng and Le, Quoc V.",
          "Symbolic Discovery of Optimization Algorithms", 2023, NEURIPS, "arXiv:2302.06675"),
    _work("you2017large", "You, Yang and Gitman, Igor and Ginsburg, Boris", "Large Batch Training of Convolutional "
    "Networks", 2017,
          "arXiv:1708.03888"),
    _talk("you2020large", "You, Yang and Li, Jing and Reddi, Sashank and Hseu, Jonathan and Kumar, Sanjiv and "
    "Bhojanapalli, Srinadh and "
          "Song, Xiaodan and Demmel, James and Keutzer, Kurt and Hsieh, Cho-Jui",
          "Large Batch Optimization for Deep Learning: Training {BERT} in 76 Minutes", 2020, ICLR, "arXiv:1904.00962"),
    _talk("defazio2024road", "Defazio, Aaron and Yang, Xingyu and Mehta, Harsh and Mishchenko, Konstantin and Khaled, "
    "Ahmed and "
          "Cutkosky, Ashok", "The Road Less Scheduled", 2024, NEURIPS, "arXiv:2405.15682"),
    _talk("mishchenko2024prodigy", "Mishchenko, Konstantin and Defazio, Aaron",
          "{Prodigy}: An Expeditiously Adaptive Parameter-Free Learner", 2024, ICML, "arXiv:2306.06101"),
    # layer-lr policies
    _talk("yosinski2014transferable", "Yosinski, Jason and Clune, Jeff and Bengio, Yoshua and Lipson, Hod",
          "How Transferable Are Features in Deep Neural Networks?", 2014, NEURIPS, "arXiv:1411.1792"),
    _work("alain2016understanding", "Alain, Guillaume and Bengio, Yoshua",
          "Understanding Intermediate Layers Using Linear Classifier Probes", 2016, "arXiv:1610.01644"),
    _talk("clark2020electra", "Clark, Kevin and Luong, Minh-Thang and Le, Quoc V. and Manning, Christopher D.",
          "{ELECTRA}: Pre-training Text Encoders as Discriminators Rather Than "
          "Generators", 2020, ICLR, "arXiv:2003.10555"),
    _talk("bao2022beit", "Bao, Hangbo and Dong, Li and Piao, Songhao and Wei, Furu", "{BEiT}: {BERT} Pre-Training of "
    "Image Transformers",
          2022, ICLR, "arXiv:2106.08254"),
    _talk("howard2018universal", "Howard, Jeremy and Ruder, Sebastian", "Universal Language Model Fine-tuning for Text "
    "Classification",
          2018, "Annual Meeting of the Association for Computational Linguistics", "arXiv:1801.06146"),
    _paper("howard2020fastai", "Howard, Jeremy and Gugger, Sylvain", "{fastai}: A Layered {API} for Deep "
    "Learning", 2020, "Information",
           "fastai's", "doi:10.3390/info11020108", volume="11", number="2", pages="108"),
    _work("goyal2017accurate", r"Goyal, Priya and Doll{\'a}r, Piotr and Girshick, Ross and Noordhuis, Pieter and "
    r"Wesolowski, Lukasz and "
          "Kyrola, Aapo and Tulloch, Andrew and Jia, Yangqing and He, Kaiming",
          "Accurate, Large Minibatch {SGD}: Training {ImageNet} in 1 Hour", 2017, "arXiv:1706.02677"),
    _work("jia2014caffe", "Jia, Yangqing and Shelhamer, Evan and Donahue, Jeff and Karayev, Sergey and Long, Jonathan "
    "and "
          "Girshick, Ross and Guadarrama, Sergio and Darrell, Trevor",
          "{Caffe}: Convolutional Architecture for Fast Feature Embedding", 2014, "Caffe's", "arXiv:1408.5093"),
    _work("yang2022tensor", "Yang, Greg and Hu, Edward J. and Babuschkin, Igor and Sidor, Szymon and Liu, Xiaodong and "
    "Farhi, David and "
          "Ryder, Nick and Pachocki, Jakub and Chen, Weizhu and Gao, Jianfeng",
          "Tensor Programs {V}: Tuning Large Neural Networks via Zero-Shot Hyperparameter "
          "Transfer", 2022, "arXiv:2203.03466"),
    # schedules
    _talk("loshchilov2017sgdr", "Loshchilov, Ilya and Hutter, Frank", "{SGDR}: Stochastic Gradient Descent with Warm "
    "Restarts", 2017, ICLR,
          "arXiv:1608.03983"),
    _work("smith2018super", "Smith, Leslie N. and Topin, Nicholay",
          "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning "
          "Rates", 2018, "arXiv:1708.07120"),
    _talk("smith2017cyclical", "Smith, Leslie N.", "Cyclical Learning Rates for Training Neural Networks", 2017,
          "{IEEE} Winter Conference on Applications of Computer Vision", "arXiv:1506.01186"),
    _talk("izmailov2018averaging", "Izmailov, Pavel and Podoprikhin, Dmitrii and Garipov, Timur and Vetrov, Dmitry and "
          "Wilson, Andrew Gordon", "Averaging Weights Leads to Wider Optima and Better Generalization", 2018,
          "Conference on Uncertainty in Artificial Intelligence", "arXiv:1803.05407"),
    _work("hu2024minicpm", "Hu, Shengding and Tu, Yuge and Han, Xu and others",
          "{MiniCPM}: Unveiling the Potential of Small Language Models with Scalable Training "
          "Strategies", 2024, "arXiv:2404.06395"),
    _work("haegele2024scaling", r"H{\"a}gele, Alexander and Bakouch, Elie and Kosson, Atli and {Ben Allal}, Loubna and "
          "{Von Werra}, Leandro and Jaggi, Martin", "Scaling Laws and Compute-Optimal Training Beyond Fixed Training "
          "Durations", 2024,
          "arXiv:2405.18392"),
    _talk("vaswani2017attention", "Vaswani, Ashish and Shazeer, Noam and Parmar, Niki and Uszkoreit, Jakob and Jones, "
    "Llion and "
          r"Gomez, Aidan N. and Kaiser, {\L}ukasz and Polosukhin, Illia", "Attention Is All You "
          "Need", 2017, NEURIPS, "arXiv:1706.03762"),
    # data and software
    _talk("street1993nuclear", "Street, W. Nick and Wolberg, William H. and Mangasarian, Olvi L.",
          "Nuclear Feature Extraction for Breast Tumor Diagnosis", 1993, "Biomedical Image Processing and Biomedical "
          "Visualization",
          "doi:10.1117/12.148698", series="Proceedings of SPIE", volume="1905", pages="861--870"),
    _work("alpaydin1998optical", "Alpaydin, Ethem and Kaynak, Cenk", "Optical Recognition of Handwritten Digits", 1998,
          "doi:10.24432/C50P49", howpublished="{UCI} Machine Learning Repository"),
    _paper("lecun1998gradient", r"LeCun, Yann and Bottou, L{\'e}on and Bengio, Yoshua and Haffner, Patrick",
           "Gradient-Based Learning Applied to Document "
           "Recognition", 1998, "Proceedings of the {IEEE}", "doi:10.1109/5.726791",
           volume="86", number="11", pages="2278--2324"),
    _work("xiao2017fashion", "Xiao, Han and Rasul, Kashif and Vollgraf, Roland",
          "{Fashion-MNIST}: A Novel Image Dataset for Benchmarking Machine Learning "
          "Algorithms", 2017, "arXiv:1708.07747"),
    _paper("goh2017momentum", "Goh, Gabriel", "Why Momentum Really Works", 2017, "Distill", "textbook convex quadratic",
           "doi:10.23915/distill.00006"),
    _talk("paszke2019pytorch", "Paszke, Adam and Gross, Sam and Massa, Francisco and Lerer, Adam and Bradbury, James "
    "and others",
          "{PyTorch}: An Imperative Style, High-Performance Deep Learning "
          "Library", 2019, NEURIPS, "torch.optim", "arXiv:1912.01703"),
    _paper("pedregosa2011scikit", "Pedregosa, Fabian and Varoquaux, Ga{\\\"e}l and Gramfort, Alexandre and Michel, "
    "Vincent and "
           "Thirion, Bertrand and others", "{Scikit-learn}: Machine Learning in "
           "{Python}", 2011, "Journal of Machine Learning Research",
           "scikit-learn", volume="12", pages="2825--2830"),
    _paper("raschka2018mlxtend", "Raschka, Sebastian",
           "{MLxtend}: Providing Machine Learning and Data Science Utilities and Extensions to {Python's} Scientific "
           "Computing Stack", 2018,
           "Journal of Open Source "
           "Software", "mlxtend", "doi:10.21105/joss.00638", volume="3", number="24", pages="638"),
    _work("torchvision2016", "{TorchVision maintainers and contributors}", "{TorchVision}: {PyTorch's} Computer Vision "
    "Library", 2016,
          "torchvision", url="https://github.com/pytorch/vision"),
    # methods
    _talk("agarwal2021deep", "Agarwal, Rishabh and Schwarzer, Max and Castro, Pablo Samuel and Courville, Aaron C. and "
          "Bellemare, Marc G.", "Deep Reinforcement Learning at the Edge of the Statistical "
          "Precipice", 2021, NEURIPS, "arXiv:2108.13264"),
    _paper("holm1979simple", "Holm, Sture", "A Simple Sequentially Rejective Multiple Test Procedure", 1979,
           "Scandinavian Journal of Statistics", "Holm 1979", volume="6", number="2", pages="65--70"),
    _work("dahl2023benchmarking", "Dahl, George E. and Schneider, Frank and Nado, Zachary and Agarwal, Naman and "
    "others",
          "Benchmarking Neural Network Training Algorithms", 2023, "arXiv:2306.07179"),
)  # fmt: skip
BY_KEY = {reference.key: reference for reference in REFERENCES}
METHODS = ("agarwal2021deep", "dahl2023benchmarking", "holm1979simple", "paszke2019pytorch")
"""What the way of measuring rests on, whatever was measured."""


def named_in(source: str) -> tuple[tuple[Reference, ...], tuple[str, ...]]:
    """The references that the text of a source names, and the arXiv numbers and DOIs in it that none of them has."""
    found = tuple(reference for reference in REFERENCES if any(mark in source for mark in reference.marks))
    marks = {mark for reference in found for mark in reference.marks}
    unknown = [name.rstrip(".") for name in IDENTIFIER.findall(source) if name.rstrip(".") not in marks]
    return found, tuple(dict.fromkeys(unknown))
