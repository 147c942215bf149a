//! What `make package` writes, deployed in every way that docs/install.md describes: the template
//! with the zip file in a bucket, `sam deploy` and the AWS CDK.
//!
//! The packages contain the binary that the tests have built. They are deployed like a release,
//! except what the local cloud does not support ([`adapted`]).

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use local::{Ministack, Stack, adapted, project_root};
use saphyr::{LoadableYamlNode, Yaml};
use tokio::process::Command;

use crate::smoke::{ROOT, smoke};
use crate::{Failure, Outcome, within};

const TEST_LIMIT: Duration = Duration::from_secs(180);
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
const OTHER: &str = if cfg!(target_arch = "aarch64") { "x86_64" } else { "arm64" };
/// Where `make deployments` installs the tools.
const SAM: &str = ".local/sam-1.170.0";
const CDK: &str = ".local/cdk";
const BINARY: &str = env!("CARGO_BIN_EXE_erase-user-files");
/// The machine of an ELF file: <https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html>
const MACHINE: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };

/// What `make package` makes for one architecture.
#[derive(Debug)]
struct Release {
    folder: PathBuf,
    /// Name of its files without their endings.
    stem: String,
}

impl Release {
    /// Packages a binary as one of this architecture.
    async fn new(name: &str, architecture: &str, binary: &Path) -> Result<Self, Failure> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let mut command = Command::new("python3");
        command.arg("-B").arg(project_root().join("tools/packaging/package.py"));
        command.args([architecture, "--author", "acme", "--binary"]);
        command.arg(binary).arg("--into").arg(&folder);
        done(&mut command).await?;
        let stem = format!("erase-user-files-{}-{architecture}", env!("CARGO_PKG_VERSION"));
        Ok(Self { folder, stem })
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}{ending}", self.stem))
    }

    /// Takes out of the templates what the local cloud does not know.
    fn adapt(&self) -> Outcome {
        for ending in [".yaml", "-bucket.yaml"] {
            let path = self.file(ending);
            std::fs::write(&path, adapted(&std::fs::read_to_string(&path)?)?)?;
        }
        Ok(())
    }

    fn zip(&self) -> Result<Vec<u8>, Failure> {
        Ok(std::fs::read(self.file(".zip"))?)
    }
}

/// Runs a program, and returns what it printed.
async fn done(command: &mut Command) -> Result<String, Failure> {
    command.env("PYTHONDONTWRITEBYTECODE", "1").kill_on_drop(true);
    let output = command.output().await?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(text) } else { Err(Failure(text)) }
}

/// Credentials, region and endpoint, and nothing of this machine's own AWS configuration.
fn with_cloud<'a>(cloud: &Ministack, command: &'a mut Command) -> &'a mut Command {
    command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    command.env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN").envs(ROOT);
    command.env("AWS_ENDPOINT_URL", cloud.endpoint()).env("AWS_DEFAULT_REGION", "us-east-1");
    command.env("AWS_REGION", "us-east-1")
}

/// A user is erased and certified by the stack, and a malformed message comes to the dead-letter
/// queue.
async fn assert_works(cloud: &Ministack, stack: &Stack) -> Outcome {
    let report = smoke(cloud, &stack.name, &ROOT).await?;
    for step in ["settings", "erasure", "dead letter", "removal"] {
        assert!(report.results().contains(&(step, "shown")), "{step}: {}", report.output());
    }
    Ok(())
}

/// The machine in the header of the zip file's program.
async fn machine_of(release: &Release) -> Result<String, Failure> {
    let script = "import struct, sys, zipfile\n\
        bootstrap = zipfile.ZipFile(sys.argv[1]).read('bootstrap')\n\
        print(*struct.unpack_from('<H', bootstrap, 18))";
    let printed =
        done(Command::new("python3").args(["-c", script]).arg(release.file(".zip"))).await?;
    Ok(printed.trim().to_owned())
}

/// The only architecture that a template names.
fn architecture_of(template: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(template)?;
    let documents = Yaml::load_from_str(&text)?;
    let names = &documents[0]["Resources"]["Function"]["Properties"]["Architectures"];
    assert_eq!(names.as_sequence().map(Vec::len), Some(1), "{names:?}");
    Ok(names[0].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn package_deploys_from_a_bucket_and_erases() -> Outcome {
    let cloud = Ministack::start().await?;
    let release = Release::new("package", ARCHITECTURE, Path::new(BINARY)).await?;
    within(TEST_LIMIT, async {
        assert_eq!(machine_of(&release).await?, MACHINE.to_string());
        for ending in [".yaml", "-bucket.yaml"] {
            assert_eq!(architecture_of(&release.file(ending))?, ARCHITECTURE, "{ending}");
        }
        // Everything that is there has its checksum.
        let sums = std::fs::read_to_string(release.folder.join("SHA256SUMS"))?;
        let files = std::fs::read_dir(&release.folder)?.flatten();
        for name in
            files.map(|file| file.file_name()).filter(|name| name != OsStr::new("SHA256SUMS"))
        {
            let name = name.to_string_lossy();
            assert!(sums.contains(&format!("  {name}\n")), "{name} has no checksum:\n{sums}");
        }
        let licences = std::fs::read_to_string(release.folder.join("THIRD-PARTY-LICENSES.txt"))?;
        for part in ["\ntokio 1.", "\naws-sdk-s3 1.", "Permission is hereby granted"] {
            assert!(licences.contains(part), "{part}");
        }

        cloud.create_bucket("code").await?;
        cloud.create_bucket("photos").await?;
        let key = format!("{}.zip", release.stem);
        let body = ByteStream::from(release.zip()?);
        cloud.s3().put_object().bucket("code").key(&key).body(body).send().await?;
        let template = std::fs::read_to_string(release.file("-bucket.yaml"))?;
        let parameters = [
            ("CodeBucket", "code"),
            ("Target1Bucket", "photos"),
            ("FunctionTimeout", "10"),
            ("AnySenderOfAccount", "true"),
        ];
        let stack = cloud.deploy_template(adapted(&template)?, &parameters).await?;
        assert_works(&cloud, &stack).await
    })
    .await
}

#[tokio::test]
async fn package_of_another_architecture_is_an_error() -> Outcome {
    // The header alone, without sections: the rest of the binary takes seconds to compress.
    let mut header = vec![0; 64];
    File::open(BINARY)?.read_exact(&mut header)?;
    header[40..48].fill(0);
    header[60..62].fill(0);
    let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join("header");
    std::fs::write(&binary, header)?;
    let result = Release::new("other-package", OTHER, &binary).await;
    let said = result.expect_err("the binary is of this machine").0;
    assert!(said.contains(&format!("{OTHER}.yaml says {OTHER}")), "{said}");
    assert!(said.contains(&format!("in ELF is {MACHINE}")), "{said}");
    Ok(())
}

/// A stack that another program deploys.
async fn deploy_with(cloud: &Ministack, name: &str, command: &mut Command) -> Outcome {
    done(with_cloud(cloud, command)).await?;
    let stack = cloud.deployed_stack(name).await?;
    assert_works(cloud, &stack).await
}

#[tokio::test]
#[ignore = "needs the SAM CLI: make deployments"]
async fn sam_deploys_a_package_without_a_build() -> Outcome {
    let cloud = Ministack::start().await?;
    let release = Release::new("sam-package", ARCHITECTURE, Path::new(BINARY)).await?;
    within(TEST_LIMIT, async {
        release.adapt()?;
        cloud.create_bucket("photos").await?;
        let mut command = Command::new(project_root().join(SAM).join("bin/sam"));
        command.current_dir(&release.folder).env("SAM_CLI_TELEMETRY", "0");
        command.arg("deploy").arg("--template-file").arg(release.file(".yaml"));
        command.args(["--stack-name", "by-sam", "--capabilities", "CAPABILITY_IAM"]);
        command.args(["--resolve-s3", "--no-confirm-changeset", "--parameter-overrides"]);
        command.args([
            "Target1Bucket=photos",
            "FunctionTimeout=10",
            "AnySenderOfAccount=true",
            "S3ForcePathStyle=true",
        ]);
        deploy_with(&cloud, "by-sam", &mut command).await
    })
    .await
}

/// Node.js, the CDK, and the packages of deploy/cdk: `make deployments` installs them.
#[tokio::test]
#[ignore = "needs Node.js and the AWS CDK: make deployments"]
async fn cdk_deploys_a_package() -> Outcome {
    // The roles of `cdk bootstrap` have policies with conditions that ministack does not know.
    let cloud = Ministack::start_without_policies().await?;
    let release = Release::new("cdk-package", ARCHITECTURE, Path::new(BINARY)).await?;
    within(TEST_LIMIT, async {
        release.adapt()?;
        cloud.create_bucket("photos").await?;
        let cdk = |arguments: &[&str]| {
            let folder = project_root().join(CDK);
            let mut command = Command::new(folder.join("node_modules/.bin/cdk"));
            command.current_dir(&folder).env("JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION", "1");
            command.args(arguments).arg("--context");
            command.arg(format!("release={}", release.file("").display()));
            command.args(["--ci", "--no-notices", "--output"]).arg(release.folder.join("cdk.out"));
            command
        };
        done(with_cloud(&cloud, &mut cdk(&["bootstrap", "aws://000000000000/us-east-1"]))).await?;
        let arguments = [
            &["deploy", "--require-approval", "never"][..],
            &[
                "--parameters",
                "Target1Bucket=photos",
                "--parameters",
                "FunctionTimeout=10",
                "--parameters",
                "AnySenderOfAccount=true",
            ],
            &["--parameters", "S3ForcePathStyle=true"],
        ];
        deploy_with(&cloud, "erase-user-files", &mut cdk(&arguments.concat())).await
    })
    .await
}
