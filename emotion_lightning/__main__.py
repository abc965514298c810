from emotion_lightning.cli.main import main

main()
