package dev.imago.interop.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.testing.Qemu;
import dev.imago.testing.Tool;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/**
 * Passphrases set and taken away by our command line are right for QEMU's tools. That qemu-img sets
 * them itself is not compared: on a busy machine it cannot measure how long one takes.
 */
class AmendKeysTest {
  private static final String OLD = "secret,id=old,data=geheim";
  private static final String NEW = "secret,id=new,data=anders";
  private static final Path IMAGE = Lab.WORK.resolve("luks.q");

  @BeforeEach
  void fill() throws Exception {
    Lab.build();
    Lab.fill();
  }

  private static Answer amend(String key, String options) {
    return Answer.ofOurs(
        "amend",
        "--object",
        OLD,
        "--object",
        NEW,
        "-o",
        options,
        "--image-opts",
        "driver=qcow2,file.filename=" + IMAGE + ",encrypt.key-secret=" + key);
  }

  private static Tool.Outcome openedByQemu(String passphrase) throws Exception {
    return Tool.run(
        "qemu-io",
        "--object",
        "secret,id=key,data=" + passphrase,
        "--image-opts",
        "-c",
        "read 0 64k",
        Qemu.encrypted(IMAGE));
  }

  @Test
  void aPassphraseIsAddedAndTheOldOneTakenAway() throws Exception {
    String add = "encrypt.state=active,encrypt.new-secret=new,encrypt.iter-time=1";
    assertThat(amend("old", add)).isEqualTo(new Answer(0, "", ""));
    assertThat(amend("old", add + ",encrypt.keyslot=6")).isEqualTo(new Answer(0, "", ""));
    openedByQemu("anders").ok();
    openedByQemu("geheim").ok();

    assertThat(amend("new", "encrypt.state=inactive,encrypt.old-secret=old"))
        .isEqualTo(new Answer(0, "", ""));
    assertThat(amend("new", "encrypt.state=inactive,encrypt.keyslot=6"))
        .isEqualTo(new Answer(0, "", ""));

    openedByQemu("anders").ok();
    assertThat(openedByQemu("geheim").status()).isNotZero();
    assertThat(Qemu.img("info", IMAGE).split("active: true", -1)).hasSize(2);
    Qemu.check(IMAGE, "anders").clean();
  }

  @Test
  void aPassphraseIsChangedTogetherWithTheVersion() throws Exception {
    assertThat(
            amend(
                "old",
                "compat=0.10,encrypt.state=active,encrypt.new-secret=new,encrypt.iter-time=1"))
        .isEqualTo(new Answer(0, "", ""));

    assertThat(Qemu.img("info", IMAGE)).contains("compat: 0.10");
    Qemu.check(IMAGE, "anders").clean();
  }

  @Test
  void theLastPassphraseGoesOnlyByForce() throws Exception {
    Answer refused = amend("old", "encrypt.state=inactive,encrypt.keyslot=0");
    assertThat(refused.exit()).isEqualTo(1);
    openedByQemu("geheim").ok();

    Answer forced =
        Answer.ofOurs(
            "amend",
            "--force",
            "--object",
            OLD,
            "-o",
            "encrypt.state=inactive,encrypt.keyslot=0",
            "--image-opts",
            "driver=qcow2,file.filename=" + IMAGE + ",encrypt.key-secret=old");
    assertThat(forced).isEqualTo(new Answer(0, "", ""));
    assertThat(openedByQemu("geheim").status()).isNotZero();
  }
}
