"""What the handlers share through the aiohttp application."""

from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from services.emulator.engine.account import Account
from services.emulator.protocol.credentials import Credentials

ACCOUNT = web.AppKey("account", Account)
CREDENTIALS = web.AppKey("credentials", Credentials)
WORKERS = web.AppKey("workers", ThreadPoolExecutor)
