"""A folder to work in whose files are called like parts of Hankelboard and of what it uses."""

BOOBY_TRAP = "raise SystemExit('a file of the current folder was run')\n"
STREAMLIT = """
[server]
baseUrlPath = "evil"
port = 1
address = "0.0.0.0"
enableCORS = false
enableXsrfProtection = false
sslCertFile = "there-is-none"
sslKeyFile = "there-is-none"
enableStaticServing = false
headless = false
[client]
showErrorDetails = "full"
[global]
developmentMode = true
"""
OWN_MODEL = """
from torch import nn
from hankelboard.trainer.layers.lru import LRU

class MyModel(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.encoder = nn.Linear(channels, 4)
        self.mixer = LRU(4, 8)
        self.head = nn.Linear(4, classes)

    def forward(self, inputs):
        return self.head(self.mixer(self.encoder(inputs)).mean(1))
"""


def hostile_folder(folder):
    for name in ("trainer", "app", "server", "main", "queue", "json", "streamlit", "torch", "sitecustomize"):
        (folder / f"{name}.py").write_text(BOOBY_TRAP)
    for name in ("storage", "comparison", "settings", "access", "app"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(BOOBY_TRAP)
    (folder / "hankelboard").mkdir()
    (folder / ".streamlit").mkdir()
    (folder / ".streamlit" / "config.toml").write_text(STREAMLIT)
    (folder / "trainer").mkdir()
    (folder / "trainer" / "__init__.py").touch()
    (folder / "trainer" / "models.py").write_text(OWN_MODEL)
    (folder / "own.toml").write_text('[model]\nfamily = "trainer.models:MyModel"\npath = "."\n')
    return folder
