"""`kgfplint lsp`: findings while code is written.

The server (`server`) keeps the texts as the editor has them and speaks the Language Server Protocol; what takes thought is
done by processes of its own (`worker`), which it can lose without harm, from texts that need not be on disk (`answers`).
"""
